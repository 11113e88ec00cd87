package config

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// The parts of the manual that no table holds.
//
//go:embed manual.md
var manualIntro string

// Markdown returns docs/configuration.md, with the options of the given
// plugins.
func Markdown(builtIn []plugin.Description) string {
	var b strings.Builder
	b.WriteString(manualIntro)
	for _, c := range append(manualBlocks[:len(manualBlocks):len(manualBlocks)], serverBlock) {
		title := "Top of the file"
		if c.header != "" {
			title = "`" + c.header + "`"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", title, c.doc)
		writeOptions(&b, c.options, title)
	}
	b.WriteString("\nThe other blocks of a server name the plugins that it uses:\n\n| block | |\n|---|---|\n")
	for _, kind := range plugin.Kinds() {
		fmt.Fprintf(&b, "| `%s \"NAME\"` | %s |\n", kind, tableCell(kindDocs[kind]))
	}
	b.WriteString("\n" + `NAME is a built-in plugin (see below) or the plugin of a ` + "`plugin`" + ` block. The plugin defines what the body may hold;
` + "`cwtch-relay plugin describe`" + ` shows it. Two blocks of one server may name the same plugin. The second has the directory ` + "`NAME#2`" + `, and so on.
`)
	for _, p := range builtIn {
		title := fmt.Sprintf("`%s %q`", p.Kind, p.Name)
		fmt.Fprintf(&b, "\n## %s\n\n%s Built in. The block belongs into a `server` block.\n", title, p.Doc)
		writeOptions(&b, p.Schema, title)
	}
	return b.String()
}

// OptionsMarkdown returns the tables of a schema, in the form of docs/configuration.md. title names
// what has the options.
func OptionsMarkdown(s plugin.Schema, title string) string {
	var b strings.Builder
	writeOptions(&b, s, title)
	return b.String()
}

// writeOptions writes the table of a schema and those of the blocks in it.
func writeOptions(b *strings.Builder, s plugin.Schema, title string) {
	if len(s.Attributes) > 0 {
		b.WriteString("\n| option | value | default | |\n|---|---|---|---|\n")
	}
	for _, a := range s.Attributes {
		def := "not set"
		switch {
		case a.Required:
			def = "required"
		case a.Default != "":
			def = "`" + schema.Default(a) + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", a.Name, tableCell(schema.Accepts(a)), tableCell(def), tableCell(a.Doc))
	}
	for _, block := range s.Blocks {
		inner := "`" + nestedHeader(block) + "` in " + title
		fmt.Fprintf(b, "\n### %s\n", inner)
		text := block.Doc
		switch {
		case block.Repeated:
			text += " Any number of these blocks may be written."
		case block.Labelled:
			text += " Any number of these blocks may be written, each with a name of its own."
		}
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(b, "\n%s\n", text)
		}
		writeOptions(b, block.Schema, inner)
	}
}

// tableCell escapes text for a cell of a table.
func tableCell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}
