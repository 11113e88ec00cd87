package plugin

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// newLogger writes lines as hclog does, which is go-plugin's format for plugins in all
// languages: JSON with "@level", "@message", "@timestamp" and the attributes.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			switch a.Key {
			case slog.TimeKey:
				return slog.String("@timestamp", a.Value.Time().UTC().Format(time.RFC3339Nano))
			case slog.LevelKey:
				level, _ := a.Value.Any().(slog.Level)
				return slog.String("@level", levelName(level))
			case slog.MessageKey:
				a.Key = "@message"
			}
			return a
		},
	}))
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// levelFromEnv returns the lowest level that the relay logs, by default debug.
func levelFromEnv() slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(os.Getenv(rpc.EnvLogLevel))); err != nil {
		return slog.LevelDebug
	}
	return l
}

// libraryLogger logs only the warnings and errors of go-plugin itself.
func libraryLogger(w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: w, JSONFormat: true, Name: "go-plugin"})
}
