package fault

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Prefix begins the name of a plugin behind the proxy.
const Prefix = "faulty_"

// nameField is the number of DescribeResponse.name in plugin.proto.
const nameField protowire.Number = 2

// prefixName puts the prefix in front of the name in an encoded description, and changes nothing
// else.
func prefixName(description []byte) (out []byte, err error) {
	for rest := description; len(rest) > 0; {
		number, kind, tag := protowire.ConsumeTag(rest)
		if tag < 0 {
			return nil, fmt.Errorf("read the description of the plugin: %w", protowire.ParseError(tag))
		}
		size := protowire.ConsumeFieldValue(number, kind, rest[tag:])
		if size < 0 {
			return nil, fmt.Errorf("read the description of the plugin: %w", protowire.ParseError(size))
		}
		field := rest[:tag+size]
		if number == nameField && kind == protowire.BytesType {
			name, _ := protowire.ConsumeBytes(rest[tag:])
			field = protowire.AppendString(protowire.AppendTag(nil, number, kind), Prefix+string(name))
		}
		out = append(out, field...)
		rest = rest[tag+size:]
	}
	return out, nil
}
