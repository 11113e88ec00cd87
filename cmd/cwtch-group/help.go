package main

import (
	"fmt"
	"io"
	"strings"
)

// What the help of a command says beside its usage.
const (
	initHelp = `A profile is a directory; -profile or CWTCH_GROUP_PROFILE names it. The default one is made at its first
use, any other one only by init, so that a slip in its name does not make a new identity.`

	inviteHelp = `-with-server  put the server's key bundle in front, for somebody who does not know the server
Whoever has the invite is a member, for ever, and can read everything that was ever posted.`

	joinHelp = `-name NAME    what you call the group, if not what its invite says`

	postHelp = `A long text is posted as several messages, each of which costs a token; 65536 bytes are the limit.
Where posting ends early, the same command posts the rest, if it is given again within a day; nothing is
posted twice. A text without anything that can be seen, with control characters, or in another encoding
than UTF-8 is refused.`

	readHelp = `-new          only messages that were not printed yet
-since WHEN   only messages of that time or later, as their senders say: 90m, 12h, 3d, 2026-11-28, "2026-11-28 09:30".
              What is unread stays that.
Times are local ones. Nothing is kept on this machine but how far reading got, so the number of unread
messages is not known before they are read.`

	followHelp = `-all          begin with the first message
-n N          end after N messages
-timeout D    end after this time, such as 30s or 5m; with -n it fails if the messages did not come
A server that cannot be reached is tried again and again.`

	membersHelp = `A group has no list of members: whoever has its key is one. These are the ones whose signatures were
verified when you read their messages.`

	nickHelp = `MEMBER is a name or nickname that members prints, the beginning of the onion or, for somebody who has
not been read yet, all of it. A nickname is yours alone: groups of Cwtch carry no names. It stands
in front of messages that the member has signed. To remove it, give the name instead of NICK.`

	renameHelp = `The name is yours alone: an invite has the one with which the group was made.`

	leaveHelp = `Nobody is told. Without an invite there is no way back; if you may need one, print it before.`
)

func (c command) usage() string { return strings.TrimSpace("cwtch-group " + c.name + " " + c.args) }

// printHelp prints the help of a command, or that of the program.
func printHelp(w io.Writer, args []string) error {
	text := usageText()
	if len(args) > 0 {
		c, err := findCommand(args[0])
		if err != nil {
			return err
		}
		text = fmt.Sprintf("usage: %s\n\n%s\n", c.usage(), c.about)
		if c.more != "" {
			text += "\n" + c.more + "\n"
		}
		text += "\n" + "cwtch-group -help prints the flags of every command.\n"
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func usageText() string {
	var b strings.Builder
	b.WriteString("cwtch-group makes, joins, reads and follows Cwtch groups, and posts to them.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %s\n        %s\n", c.usage(), c.about)
	}
	b.WriteString(`
Flags of every command, with one dash or two, before or behind its arguments:

  -profile DIR        keep identity, servers, groups and tokens here
                      (CWTCH_GROUP_PROFILE; default: cwtch-group in the user's configuration directory)
  -network N          tor, or loopback:DIR for development (CWTCH_GROUP_NETWORK; default: tor)
  -torrc FILE         more lines for tor's configuration (CWTCH_GROUP_TORRC)
  -tor-control ADDR   use the tor that runs there, such as unix:/run/tor/control or 127.0.0.1:9051
  -tor-control-user USER
                      the user that this tor has, if it is neither you nor root, such as debian-tor
  -tor-control-cookie FILE
                      the file with its cookie, required with a port, such as /run/tor/control.authcookie
  -json               print facts, messages and errors as JSON, one value a line
  -q                  show no progress

cwtch-group help COMMAND says more about a command.

An argument "-" is read from standard input, which keeps invites and texts out of the list of
processes. A text that begins with a dash goes behind "--".

read replays all that the server keeps and prints the messages of the group; nothing is kept on this
machine but how far it got, which is where "read -new" and "follow" begin. A message that is not
signed by the member it names is printed as [unverified].

The exit status is 0, 1 after an error, 2 after wrong usage, 130 or 143 after ^C or SIGTERM; follow ends
so with 0. With -json an error is {"error": …, "hint": …, "status": …} on standard error; a hint is not
always there. {"warning": …} may come before.
`)
	return b.String()
}
