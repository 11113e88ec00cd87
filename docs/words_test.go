package docs_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// wordList is this file, the only one that may hold the retired words.
const wordList = "words_test.go"

// retiredTexts must not stand in any text file. The better text is beside each.
var retiredTexts = []struct {
	text   *regexp.Regexp
	better string
}{
	{regexp.MustCompile(`(?i)\bcan not\b`), "cannot"},
	{regexp.MustCompile(`(?i)\brooms\b`), "packages; bufPool for the buffers of announcements"},
	{regexp.MustCompile(`(?i)\bwhosesoever\b`), "a sentence for each case"},
}

// retiredWords must not be part of a Go name: "shelf" forbids shelf and newShelf.
// Each was private to this project; the word of the field is beside it.
var retiredWords = map[string]string{
	"border":    "proxy",
	"complain":  "logRefused, or what is logged",
	"condemned": "killed",
	"course":    "loop",
	"doom":      "requestKill",
	"doomed":    "killed",
	"house":     "harness, or what the helper runs",
	"intruder":  "peer",
	"overdue":   "hangDetector",
	"purse":     "purchase",
	"rig":       "what the helper sets up",
	"rooms":     "bufPool",
	"shelf":     "programs",
}

// retiredNames are whole names.
var retiredNames = map[string]string{
	"Between":    "Interceptor",
	"Healther":   "HealthReporter",
	"Spending":   "SpentToken",
	"Spendings":  "SpentTokens",
	"Vocabulary": "ErrorCodes",
}

// retiredPackages are names of packages.
var retiredPackages = map[string]string{"ground": "storefile"}

// TestWords refuses words that say less to a reader than those of the field.
func TestWords(t *testing.T) {
	walkTexts(t, func(path string, text []byte) {
		if filepath.Base(path) == wordList {
			return
		}
		if strings.HasPrefix(filepath.Base(path), "trap_") {
			t.Errorf("%s: name the script after what it shows", path)
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, r := range retiredTexts {
				if found := r.text.FindString(line); found != "" {
					t.Errorf("%s:%d says %q: write %s", path, n+1, found, r.better)
				}
			}
		}
	})
	walkGo(t, func(path string, fset *token.FileSet, file *ast.File) {
		if better, retired := retiredPackages[file.Name.Name]; retired {
			t.Errorf("%s is in package %s: call it %s", path, file.Name.Name, better)
		}
		if filepath.Base(path) == wordList {
			return
		}
		for _, name := range namesIn(file) {
			// The protocol names the methods of package rpc.
			if better, retired := retiredNames[name.Name]; retired && file.Name.Name != "rpc" {
				t.Errorf("%s has the name %s: write %s", fset.Position(name.Pos()), name.Name, better)
			}
			for _, word := range camelWords(name.Name) {
				if better, retired := retiredWords[word]; retired {
					t.Errorf("%s has the name %s: write %s", fset.Position(name.Pos()), name.Name, better)
				}
			}
		}
	})
}

// TestHelperNames measures how many unexported functions have a name of one word. A
// verb alone says neither what a function acts on nor what it returns.
func TestHelperNames(t *testing.T) {
	const most = 20 // per cent
	functions, short := 0, make(map[string][]string)
	count := 0
	walkGo(t, func(path string, _ *token.FileSet, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Name.IsExported() || f.Name.Name == "main" || f.Name.Name == "init" {
				continue
			}
			functions++
			if strings.IndexFunc(f.Name.Name, unicode.IsUpper) < 0 {
				count++
				short[filepath.Dir(path)] = append(short[filepath.Dir(path)], f.Name.Name)
			}
		}
	})
	if functions == 0 {
		t.Fatal("no functions were found")
	}
	t.Logf("%d of %d unexported functions have a name of one word", count, functions)
	if count*100 > functions*most {
		for dir, names := range short {
			t.Logf("%s: %s", dir, strings.Join(names, " "))
		}
		t.Errorf("%d of %d unexported functions have a name of one word, more than %d %%: call them verb and object", count, functions, most)
	}
}

// walkTexts calls f with every text file of the repository.
func walkTexts(t *testing.T, f func(path string, text []byte)) {
	t.Helper()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == ".cache" || name == "bin" || name == "build" || name == "venv"):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil && !bytes.ContainsRune(text, 0) {
			files++
			f(path, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("only %d files were found", files)
	}
}

// walkGo calls f with every Go file that people write.
func walkGo(t *testing.T, f func(path string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	walkTexts(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".pb.go") {
			return
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		f(path, fset, file)
	})
}

// namesIn returns the names of a file, save those after a dot and those of fields in
// a composite literal: other packages choose them, such as that of the protocol.
func namesIn(file *ast.File) (names []*ast.Ident) {
	foreign := make(map[*ast.Ident]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			foreign[n.Sel] = true
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok {
				foreign[key] = true
			}
		case *ast.Ident:
			if !foreign[n] {
				names = append(names, n)
			}
		}
		return true
	})
	return names
}

// camelWords splits a name into its words, in lower case.
func camelWords(name string) (words []string) {
	begin := 0
	for i, r := range name {
		if i > begin && (unicode.IsUpper(r) || r == '_') {
			words = append(words, strings.ToLower(strings.Trim(name[begin:i], "_")))
			begin = i
		}
	}
	return append(words, strings.ToLower(strings.Trim(name[begin:], "_")))
}
