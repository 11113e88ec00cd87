package command

import (
	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// JSONFlag is the flag of a command that can print its facts as JSON.
func JSONFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Local: true, Usage: "Print facts as JSON, and an error as one JSON object with error and hint."}
}

// PathFlag is a flag that is a path, or an address with one.
func PathFlag(name, defaultText, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Local: true, TakesFile: true, DefaultText: defaultText, Usage: usage, Validator: pathname.CheckAddress}
}

// pathsFlag is a flag that is a path, any number of times.
func pathsFlag(name, usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: name, TakesFile: true, Usage: usage, Validator: func(paths []string) error {
		return pathname.Check(paths[len(paths)-1])
	}}
}

// CheckPath returns an argument that is a path.
func CheckPath(arg string) (string, error) {
	if err := pathname.Check(arg); err != nil {
		return "", UsageError{Text: err.Error()}
	}
	return arg, nil
}
