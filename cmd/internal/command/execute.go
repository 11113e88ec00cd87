package command

import (
	"context"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc/grpclog"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/stdout"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// Execute is the main function of a program that starts plugins: it protects the process
// and calls run with the arguments. It does not return.
func Execute(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	sandbox.Main()
	durable.PrivateUmask()
	if err := sandbox.ProtectMemory(); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(ExitError)
	}
	// A plugin can have gRPC write a line to standard error for each frame it sends.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	out := stdout.New(os.Stdout)
	os.Exit(out.Status(run(context.Background(), os.Args[1:], out, os.Stderr), os.Stderr))
}
