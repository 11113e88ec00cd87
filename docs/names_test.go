package docs_test

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pathInText matches a path of the repository.
var pathInText = regexp.MustCompile(`(?:^|[\s("` + "`" + `])((?:cmd|config|core|docs|examples|plugins|sdk)(?:/[\w.-]+)+)`)

// TestPathsExist looks for every path that a page names.
func TestPathsExist(t *testing.T) {
	found := 0
	for page, text := range manual(t) {
		for _, m := range pathInText.FindAllStringSubmatch(text, -1) {
			found++
			path := strings.TrimRight(m[1], ".-")
			if _, err := os.Stat(filepath.Join("..", path)); err != nil {
				t.Errorf("%s names %s, which does not exist", page, path)
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d paths were found", found)
	}
}

// TestPackagesAreListed compares the list of packages in architecture.md with the
// directories that have Go code and are not internal to one of the list.
func TestPackagesAreListed(t *testing.T) {
	const heading = "\n## Packages\n"
	section := part(t, "architecture.md", heading)
	listed := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)(?:^    |;  |, |: )((?:cmd|config|core|limits|plugins|sdk)[\w/-]*)`).FindAllStringSubmatch(section, -1) {
		listed[strings.TrimSuffix(m[1], "/")] = true
	}
	walkGo(t, func(path string, _ *token.FileSet, _ *ast.File) {
		dir, _ := filepath.Rel("..", filepath.Dir(path))
		root, below, _ := strings.Cut(dir, "/")
		if root == "docs" || root == "examples" || strings.Contains(below+"/", "internal/") || strings.Contains(dir, "testdata") {
			return
		}
		if !listed[dir] && !listed[filepath.Dir(dir)] {
			t.Errorf("architecture.md does not list %s under %q", dir, strings.TrimSpace(heading))
			listed[dir] = true // once is enough
		}
	})
}

// TestNamesExist looks for every name of the code that a page has in a code span, as
// in `relay.Port`, and for those in the last column of the tables of compatibility.md.
func TestNamesExist(t *testing.T) {
	code := readNames(t)
	found := 0
	for page, text := range manual(t) {
		if page == "plugin-protocol.md" { // has the names of gRPC services
			continue
		}
		for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
			pkg, name, _ := strings.Cut(m[1], ".")
			if !code.packages[pkg] || !isExportedName(name) {
				continue
			}
			found++
			if !code.names[m[1]] {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
	compatibility, err := os.ReadFile("compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	inCode := false
	for _, row := range strings.Split(string(compatibility), "\n") {
		cells := strings.Split(strings.TrimSuffix(row, " |"), " | ")
		last := cells[len(cells)-1]
		if !strings.HasPrefix(row, "|") {
			inCode = false
		} else if strings.HasPrefix(last, "in the code") || last == "suspect" {
			inCode = true
		} else if inCode {
			for _, span := range spansOf(last) {
				if strings.Contains(span, "/") || code.packages[span] {
					continue
				}
				found++
				if !code.names[span] {
					t.Errorf("compatibility.md names %s, which does not exist", span)
				}
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d names were found", found)
	}
}

// isExportedName reports whether a text is an exported name of Go, as in Store or
// Store.Append.
func isExportedName(text string) bool {
	name, member, dotted := strings.Cut(text, ".")
	return token.IsExported(name) && token.IsIdentifier(name) && (!dotted || token.IsIdentifier(member))
}

// manual returns the pages that people write, by path.
func manual(t *testing.T) map[string]string {
	t.Helper()
	pages := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			text, err := os.ReadFile(path)
			pages[path] = string(text)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages["README.md"] = string(readme)
	return pages
}

// codeNames are the names that the code declares: functions, types, constants,
// variables, and "Type.Member", each also behind the name of its package.
type codeNames struct {
	packages map[string]bool
	names    map[string]bool
}

func readNames(t *testing.T) codeNames {
	t.Helper()
	code := codeNames{packages: make(map[string]bool), names: make(map[string]bool)}
	walkGo(t, func(path string, _ *token.FileSet, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testdata") {
			return
		}
		pkg := file.Name.Name
		code.packages[pkg] = true
		add := func(name string) {
			code.names[name] = true
			code.names[pkg+"."+name] = true
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					add(d.Name.Name)
				} else if receiver := receiverName(d.Recv.List[0].Type); receiver != "" {
					add(receiver + "." + d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					addSpec(spec, add)
				}
			}
		}
	})
	return code
}

func addSpec(spec ast.Spec, add func(string)) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			add(name.Name)
		}
	case *ast.TypeSpec:
		add(spec.Name.Name)
		var members *ast.FieldList
		switch typ := spec.Type.(type) {
		case *ast.StructType:
			members = typ.Fields
		case *ast.InterfaceType:
			members = typ.Methods
		default:
			return
		}
		for _, member := range members.List {
			for _, name := range member.Names {
				add(spec.Name.Name + "." + name.Name)
			}
		}
	}
}

// receiverName returns the type of a receiver, without a star and type parameters.
func receiverName(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.StarExpr:
		return receiverName(expr.X)
	case *ast.IndexExpr:
		return receiverName(expr.X)
	case *ast.Ident:
		return expr.Name
	}
	return ""
}
