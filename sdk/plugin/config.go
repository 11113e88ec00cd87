package plugin

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"

	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// NewConfig fills in the defaults of a value of s.CtyType(), checks it and returns the
// configuration. A relay does that for a plugin; a test calls it with a value from
// [Schema.Value].
func NewConfig(s Schema, v cty.Value, dir string, logger *slog.Logger) (Config, error) {
	complete, diags := s.Complete(v)
	if len(diags) > 0 {
		return Config{}, diags
	}
	return Config{Dir: dir, Logger: logger, value: complete}, nil
}

// File returns the path of a file below Dir, the only place where a plugin can write. If path
// leads elsewhere or to Dir itself, the error is a [Diagnostics] for the attribute in which
// it was written.
func (c Config) File(path string, attribute ...string) (string, error) {
	if err := pathname.Check(path); err != nil {
		return "", Invalid("The path begins with something that is not expanded here: "+err.Error(), "Write a path relative to the plugin's directory.", attribute...)
	}
	if !filepath.IsLocal(path) || filepath.Clean(path) == "." {
		return "", Invalid("The path does not name a file below the plugin's directory",
			"Write a relative path without \"..\". To keep the file on another disk, set data_dir to a directory there, "+
				"or mount the disk at the plugin's directory.", attribute...)
	}
	return filepath.Join(c.Dir, path), nil
}

// Decode stores the configuration in the struct that into points to. Each attribute and block
// of the schema needs a field with its name in a `cty` tag. Fields of attributes are string,
// an integer, bool, time.Duration or []string. The field of a block is a struct or a pointer
// to one, of a repeated block a slice of structs, and of a labelled block a map from string to
// structs. Absent attributes and blocks leave their fields unchanged. An error is a mistake in
// the plugin, not in the configuration.
func (c Config) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode configuration: %T is not a pointer to a struct", into)
	}
	if c.value == cty.NilVal {
		return fmt.Errorf("decode configuration: there is none")
	}
	if err := decodeObject(c.value, v.Elem()); err != nil {
		return fmt.Errorf("decode configuration: %w", err)
	}
	return nil
}

func decodeObject(object cty.Value, into reflect.Value) error {
	fields := make(map[string]reflect.Value)
	for i, f := range reflect.VisibleFields(into.Type()) {
		if tag, ok := f.Tag.Lookup("cty"); ok && len(f.Index) == 1 {
			fields[tag] = into.Field(i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object.Type().AttributeTypes())) {
		field, ok := fields[name]
		if !ok {
			return fmt.Errorf("%v has no field for %q", into.Type(), name)
		}
		delete(fields, name)
		if err := decodeField(object.GetAttr(name), field); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		return fmt.Errorf("%v has a field for %q, but the schema has no such attribute or block", into.Type(), name)
	}
	return nil
}

func decodeField(v cty.Value, into reflect.Value) error {
	t := v.Type()
	switch {
	case v.IsNull():
		return nil
	case t.IsObjectType():
		return decodeBlock(v, into)
	case t.IsListType() && t.ElementType().IsObjectType():
		if into.Kind() != reflect.Slice {
			return fmt.Errorf("a repeated block needs a slice, not %v", into.Type())
		}
		list := reflect.MakeSlice(into.Type(), v.LengthInt(), v.LengthInt())
		for i, body := range v.AsValueSlice() {
			if err := decodeBlock(body, list.Index(i)); err != nil {
				return err
			}
		}
		into.Set(list)
		return nil
	case t.IsMapType():
		if into.Kind() != reflect.Map || into.Type().Key().Kind() != reflect.String {
			return fmt.Errorf("a labelled block needs a map from strings, not %v", into.Type())
		}
		labelled := reflect.MakeMap(into.Type())
		for label, body := range v.AsValueMap() {
			e := reflect.New(into.Type().Elem()).Elem()
			if err := decodeBlock(body, e); err != nil {
				return err
			}
			labelled.SetMapIndex(reflect.ValueOf(label).Convert(into.Type().Key()), e)
		}
		into.Set(labelled)
		return nil
	}
	return gocty.FromCtyValue(v, into.Addr().Interface())
}

func decodeBlock(v cty.Value, into reflect.Value) error {
	if into.Kind() == reflect.Pointer && into.Type().Elem().Kind() == reflect.Struct {
		into.Set(reflect.New(into.Type().Elem()))
		into = into.Elem()
	}
	if into.Kind() != reflect.Struct {
		return fmt.Errorf("a block needs a struct, not %v", into.Type())
	}
	return decodeObject(v, into)
}
