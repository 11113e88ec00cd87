package pluginproc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// Tracer receives a line for every call to a plugin and for every answer: the method, the
// code, the time, the size and the beginning of the message. It is for authors of plugins,
// whose messages are not secret. Trace is called from several goroutines.
type Tracer interface{ Trace(line string) }

// callTracer traces the calls of a connection.
type callTracer struct{ Tracer }

// maxTracedBody bounds the part of a message that a line shows, in bytes.
const maxTracedBody = 160

func (t callTracer) traceUnary(ctx context.Context, method string, req, answer any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	name, begin := shortMethod(method), time.Now()
	t.Trace("> " + name + " " + formatMessage(req))
	err := invoke(ctx, method, req, answer, conn, opts...)
	t.Trace("< " + name + " " + formatOutcome(err, answer) + " in " + time.Since(begin).Round(10*time.Microsecond).String())
	return err
}

func (t callTracer) traceStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil || strings.HasPrefix(method, "/plugin.") { // a stream of go-plugin itself
		return stream, err
	}
	return &tracedStream{stream, t.Tracer, shortMethod(method)}, nil
}

// tracedStream traces each message of a stream.
type tracedStream struct {
	grpc.ClientStream
	tracer Tracer
	name   string
}

func (s *tracedStream) SendMsg(m any) error {
	s.tracer.Trace("> " + s.name + " " + formatMessage(m))
	return s.ClientStream.SendMsg(m)
}

func (s *tracedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.tracer.Trace("< " + s.name + " " + formatOutcome(err, m))
	return err
}

// shortMethod turns "/cwtch.relay.plugin.v1.Storage/Append" into "Storage.Append".
func shortMethod(method string) string {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service[strings.LastIndex(service, ".")+1:] + "." + name
}

func formatOutcome(err error, answer any) string {
	if err != nil {
		s := status.Convert(err)
		return fmt.Sprintf("%v %q", s.Code(), rpc.Clean(s.Message(), maxTracedBody))
	}
	return "OK " + formatMessage(answer)
}

// formatMessage returns the size of a message and its beginning.
func formatMessage(message any) string {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Sprintf("%T", message)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d bytes ", proto.Size(m))
	limit := b.Len() + maxTracedBody
	writeMessage(&b, m.ProtoReflect(), limit)
	if b.Len() > limit {
		return b.String()[:limit] + "…"
	}
	return b.String()
}

// writeMessage writes fields until limit bytes are exceeded. It shortens lists to their length
// and first element, and texts and bytes to their beginning: a message may have megabytes.
func writeMessage(b *strings.Builder, m protoreflect.Message, limit int) {
	b.WriteByte('{')
	fields, first := m.Descriptor().Fields(), true
	for i := 0; i < fields.Len() && b.Len() <= limit; i++ {
		field := fields.Get(i)
		if !m.Has(field) {
			continue
		}
		if !first {
			b.WriteByte(' ')
		}
		first = false
		fmt.Fprintf(b, "%s:", field.Name())
		value := m.Get(field)
		if field.IsList() {
			fmt.Fprintf(b, "%d×", value.List().Len())
			value = value.List().Get(0)
		}
		switch v := value.Interface().(type) {
		case protoreflect.Message:
			writeMessage(b, v, limit)
		case []byte:
			fmt.Fprintf(b, "[%d bytes %x]", len(v), v[:min(len(v), 4)])
		case string:
			fmt.Fprintf(b, "%q", rpc.Clean(v, 40))
		case protoreflect.EnumNumber:
			fmt.Fprint(b, enumName(field, v))
		default:
			fmt.Fprint(b, v)
		}
	}
	b.WriteByte('}')
}

func enumName(field protoreflect.FieldDescriptor, n protoreflect.EnumNumber) string {
	if value := field.Enum().Values().ByNumber(n); value != nil {
		return string(value.Name())
	}
	return fmt.Sprint(n)
}
