package plugin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// Bounds on a schema. A relay refuses a plugin whose description exceeds them, so that a
// hostile one cannot keep it busy.
const (
	MaxSchemaDepth   = 4       // blocks within blocks
	MaxSchemaItems   = 256     // attributes and blocks, all levels together
	MaxSchemaOneOf   = 64      // choices of one attribute
	MaxSchemaText    = 4 << 10 // bytes of one doc text, default or choice
	MaxNameLength    = 64      // bytes of the name of an attribute, a block or a plugin
	maxVersionLength = 128
)

// Schema describes what an operator writes between the braces of a plugin block. It is plain
// data: it is sent to the relay, which checks configurations with it, and printed in the
// manual.
type Schema struct {
	Attributes []Attribute `json:"attributes,omitempty"`
	Blocks     []Block     `json:"blocks,omitempty"`
}

// Attribute is one `name = value` of a schema.
type Attribute struct {
	// Name is lower case: a letter, then letters, digits and underscores.
	Name string `json:"name"`
	// Doc says in whole sentences what the value does and what can go wrong with it.
	Doc  string `json:"doc,omitempty"`
	Type Type   `json:"type"`
	// Required attributes must be written. They have no default.
	Required bool `json:"required,omitempty"`
	// Default is the value if the attribute is not written, as an operator would write
	// it: "10", "true", "30s", "64MiB", or the string itself. Empty means no default.
	// Lists have none.
	Default string `json:"default,omitempty"`
	// Min and Max are inclusive bounds on an Int, a Duration (in nanoseconds), a Bytes (in
	// bytes) or the length of a StringList.
	Min *int64 `json:"min,omitempty"`
	Max *int64 `json:"max,omitempty"`
	// OneOf lists the allowed values of a String, or of each string of a StringList. Empty
	// means any.
	OneOf []string `json:"one_of,omitempty"`
	// Listener makes a String an address IP:PORT at which the relay listens for a stats
	// plugin; [Config.Listener] returns the listener. An empty value means no listener.
	// Such an attribute cannot stand in a repeated or labelled block.
	Listener bool `json:"listener,omitempty"`
}

// Block is a nested `name { … }` of a schema.
type Block struct {
	Name string `json:"name"` // as the name of an attribute
	Doc  string `json:"doc,omitempty"`
	// Schema is what stands between the braces.
	Schema Schema `json:"schema"`
	// A repeated block may be written any number of times; the order is kept. So may a
	// labelled block, each with a label of its own: `name "label" {}`. A block that is
	// neither may be written once. It cannot be both.
	Repeated bool `json:"repeated,omitempty"`
	Labelled bool `json:"labelled,omitempty"`
}

// Type is the type of an attribute. The numbers are part of the protocol and never change.
type Type uint8

const (
	String     Type = 1
	Int        Type = 2 // 64 bits, signed
	Bool       Type = 3
	Duration   Type = 4 // such as "30s"; decodes into a time.Duration
	Bytes      Type = 5 // a size, such as "64MiB" or a number; decodes into an int64
	StringList Type = 6
)

var typeNames = [...]string{
	String: "string", Int: "int", Bool: "bool", Duration: "duration",
	Bytes: "bytes", StringList: "list of strings",
}

func (t Type) isKnown() bool { return t >= String && int(t) < len(typeNames) }

func (t Type) String() string {
	if !t.isKnown() {
		return fmt.Sprintf("unknown type %d", uint8(t))
	}
	return typeNames[t]
}

// MarshalText returns the name of the type.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *Type) UnmarshalText(text []byte) error {
	i := slices.Index(typeNames[:], string(text))
	if i < int(String) {
		return fmt.Errorf("unknown attribute type %.40q", text)
	}
	*t = Type(i)
	return nil
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func checkName(name string) error {
	if len(name) > MaxNameLength || !namePattern.MatchString(name) {
		return fmt.Errorf("%.80q is not a name: at most %d of a-z, 0-9 and _, a letter first", name, MaxNameLength)
	}
	return nil
}

// Validate reports whether the schema keeps the rules of its fields and the bounds above. A
// relay refuses a plugin whose schema does not.
func (s Schema) Validate() error {
	items := 0
	return s.validateDepth(MaxSchemaDepth, &items)
}

func (s Schema) validateDepth(depth int, items *int) error {
	if depth < 0 {
		return fmt.Errorf("schema: blocks nested deeper than %d", MaxSchemaDepth)
	}
	if *items += len(s.Attributes) + len(s.Blocks); *items > MaxSchemaItems {
		return fmt.Errorf("schema: more than %d attributes and blocks", MaxSchemaItems)
	}
	seen := make(map[string]bool)
	for _, a := range s.Attributes {
		if err := a.validateAttribute(); err != nil {
			return fmt.Errorf("schema: attribute %w", err)
		}
		if seen[a.Name] {
			return fmt.Errorf("schema: %q is there twice", a.Name)
		}
		seen[a.Name] = true
	}
	for _, b := range s.Blocks {
		if err := checkName(b.Name); err != nil {
			return fmt.Errorf("schema: block %w", err)
		}
		if seen[b.Name] {
			return fmt.Errorf("schema: %q is there twice", b.Name)
		}
		seen[b.Name] = true
		if b.Repeated && b.Labelled {
			return fmt.Errorf("schema: block %q is both repeated and labelled", b.Name)
		}
		if err := checkText(b.Doc); err != nil {
			return fmt.Errorf("schema: block %q: %w", b.Name, err)
		}
		if (b.Repeated || b.Labelled) && b.Schema.hasListener() {
			return fmt.Errorf("schema: block %q has a listener, and cannot be repeated or labelled", b.Name)
		}
		if err := b.Schema.validateDepth(depth-1, items); err != nil {
			return err
		}
	}
	return nil
}

func (a Attribute) validateAttribute() error {
	if err := checkName(a.Name); err != nil {
		return err
	}
	for _, text := range append([]string{a.Doc, a.Default}, a.OneOf...) {
		if err := checkText(text); err != nil {
			return fmt.Errorf("%q: %w", a.Name, err)
		}
	}
	bounded := a.Type == Int || a.Type == Duration || a.Type == Bytes || a.Type == StringList
	switch {
	case !a.Type.isKnown():
		return fmt.Errorf("%q: %v", a.Name, a.Type)
	case !bounded && (a.Min != nil || a.Max != nil):
		return fmt.Errorf("%q: a %v has neither min nor max", a.Name, a.Type)
	case a.Min != nil && a.Max != nil && *a.Min > *a.Max:
		return fmt.Errorf("%q: min is above max", a.Name)
	case len(a.OneOf) > MaxSchemaOneOf:
		return fmt.Errorf("%q: more than %d choices", a.Name, MaxSchemaOneOf)
	case len(a.OneOf) > 0 && a.Type != String && a.Type != StringList:
		return fmt.Errorf("%q: a %v has no choices", a.Name, a.Type)
	case a.Listener && a.Type != String:
		return fmt.Errorf("%q: a %v cannot be an address to listen at", a.Name, a.Type)
	case a.Required && a.Default != "":
		return fmt.Errorf("%q: a required attribute cannot have a default", a.Name)
	case a.Type == StringList && a.Default != "":
		return fmt.Errorf("%q: a list has no default", a.Name)
	}
	if a.Default != "" {
		if _, err := a.Parse(a.Default); err != nil {
			return fmt.Errorf("%q: default: %w", a.Name, err)
		}
	}
	return nil
}

func checkText(text string) error {
	if len(text) > MaxSchemaText {
		return fmt.Errorf("text longer than %d bytes", MaxSchemaText)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && rpc.IsControl(r) || r == '\uFFFD' }) {
		return fmt.Errorf("text has control characters or is not UTF-8")
	}
	return nil
}
