package main

import (
	"fmt"
	"io"
	"strings"
)

// What the help of a command says after its usage line.
const (
	initHelp = `A profile is a directory; -profile or CWTCH_GROUP_PROFILE names it. The default profile is made when it is
first used. Only init makes any other, so that a typing mistake does not make a new identity.`

	createHelp = `-server ADDR  the server, if there are several
-serverless   make a group without a server: it is on core peers, such as the relays of its members
-core-peer P  a core peer, at most 7 times; P is its bundle, or the address of a server that you have imported
Only this profile can add and remove core peers later: keep a copy of it.`

	peerListHelp = `A core peer that only has messages which no other one has, or lacks what the others have, may be hostile, or have
been away. "only here" counts the messages that only it had when the group was last read.`

	peerHelp = `The list of core peers is signed with a key that only the profile which made the group has. Members take over a
newer list when they read it in the group, or when they join again with a new invite.`

	botHelp = `-settle D     give replication between the core peers this time before doing its work; default: 2m
-rate N       bring at most N messages an hour to each core peer, after the first 30; default: 600
-announce D   announce the list of core peers this often, or 0: only when it has changed; default: 24h
It brings messages of the last 7 days that a member has signed, each with a token of its own. It prints no
messages. One bot can serve a group for each profile; with two for a group, the work is done twice at worst.`

	localHelp = `ADDR is the address of the server or the beginning of it. DIR is its directory, servers/NAME in the data
directory of the relay, which the same user must run. "tor" in place of DIR goes back to Tor.`

	inviteHelp = `-with-server  include the server's key bundle, for somebody who does not have it yet
Everybody who has the invite is a member, forever, and can read everything that was ever posted.`

	joinHelp = `-name NAME    what to call the group in your profile; default: the name in the invite`

	postHelp = `A long text is posted as several messages, each of which costs a token; the longest text has 65536 bytes.
If posting is interrupted, give the same command again within a day: it posts the rest, and nothing twice.
A text is refused if it is blank, has control characters, or is not UTF-8.`

	readHelp = `-new          only messages that were not printed yet
-since WHEN   only messages from then on, by the clocks of their senders: 90m, 12h, 3d, 2026-11-28,
              "2026-11-28 09:30". Older messages stay unread.
Times are local. This computer keeps no messages, only how far you have read, so cwtch-group does not know
how many messages are unread before it reads them.`

	followHelp = `-all          begin with the first message
-n N          end after N messages
-timeout D    end after this time, such as 30s or 5m; with -n it is an error if fewer messages came
If the server cannot be reached, follow tries again and again.`

	membersHelp = `A group has no list of members: everybody who has its key is one. These are the members whose signatures
were verified when you read their messages.`

	nickHelp = `MEMBER is a name or nickname that cwtch-group members prints, or the beginning of the member's address; for
somebody whose messages you have not read yet, it is the whole address. Only you see the nickname, and only on
messages that the member has signed. To remove it, give the member's name in place of NICK.`

	renameHelp = `The new name is in your profile only: an invite keeps the name with which the group was made.`

	leaveHelp = `The other members are not told. Only an invite brings you back: if you may want that, print one first.`
)

func (c command) usageLine() string { return strings.TrimSpace("cwtch-group " + c.name + " " + c.args) }

// printHelp prints the help of a command, or of the program.
func printHelp(w io.Writer, args []string) error {
	text := usageText()
	if len(args) > 0 {
		var err error
		if text, err = helpText(args); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// helpText returns the help of a command, or of all that begin with a word such as "peer".
func helpText(args []string) (string, error) {
	name, _ := joinCommand(args[0], args[1:])
	var text string
	for _, c := range listCommands() {
		if c.name == name || strings.HasPrefix(c.name, name+" ") {
			text += fmt.Sprintf("usage: %s\n\n%s\n\n", c.usageLine(), c.about)
			if c.more != "" && !strings.Contains(text, c.more) {
				text += c.more + "\n\n"
			}
		}
	}
	if text == "" {
		_, err := findCommand(name)
		return "", err
	}
	return text + "cwtch-group -help prints the flags of every command.\n", nil
}

func usageText() string {
	var b strings.Builder
	b.WriteString("cwtch-group makes, joins, reads and follows Cwtch groups, and posts to them.\n\n")
	for _, c := range listCommands() {
		fmt.Fprintf(&b, "  %s\n        %s\n", c.usageLine(), c.about)
	}
	b.WriteString(`
Flags of every command, with one dash or two, before or after its arguments:

  -profile DIR        keep identity, servers, groups and tokens here
                      (CWTCH_GROUP_PROFILE; default: cwtch-group in the user's configuration directory)
  -network N          tor, or loopback:DIR for development (CWTCH_GROUP_NETWORK; default: tor)
  -torrc FILE         more lines for tor's configuration (CWTCH_GROUP_TORRC)
  -tor-control ADDR   use the tor that runs there, such as unix:/run/tor/control or 127.0.0.1:9051
  -tor-control-user USER
                      the user of that tor, if it is neither you nor root, such as debian-tor
  -tor-control-cookie FILE
                      its cookie file, required if ADDR is a port, such as /run/tor/control.authcookie
  -json               print facts, messages and errors as JSON, one value a line
  -q                  show no progress

cwtch-group help COMMAND says more about a command.

Give "-" in place of an invite, a server or a text to read it from standard input: everybody on this computer
can see the arguments of a command. Put "--" before a text that begins with a dash.

read gets everything that the server keeps and prints the messages of the group. This computer keeps no
messages, only how far you have read: "read -new" and "follow" go on from there. [unverified] marks a message
that was not signed by the member whose name it has.

The exit status is 0, or 1 after an error, 2 after a mistake in the command line, and 130 or 143 after ^C or
SIGTERM; follow returns 0 then. With -json an error is {"error": …, "hint": …, "status": …} on standard error,
sometimes without a hint. {"warning": …} may come before it.
`)
	return b.String()
}
