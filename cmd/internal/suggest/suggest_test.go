package suggest

import (
	"flag"
	"io"
	"testing"
)

func TestName(t *testing.T) {
	known := []string{"list", "describe", "sum", "test", "new"}
	for name, want := range map[string]string{"tset": `Did you mean "plugin test"? `, "dance": "", "": ""} {
		if got := Name("plugin ", name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestFlag(t *testing.T) {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.String("config", "", "")
	fs.Int("n", 0, "")
	for arg, want := range map[string]string{
		"-conifg=x":  `Did you mean "-config"? `,
		"--confg":    `Did you mean "-config"? `,
		"-backwards": "",
		"-n=conifg":  "", // known, and no number
		"-config":    "", // known, and has no value
	} {
		err := fs.Parse([]string{arg})
		if err == nil {
			t.Fatalf("%s is taken", arg)
		}
		if got := Flag(fs, err); got != want {
			t.Errorf("%s: got %q, want %q", arg, got, want)
		}
	}
}
