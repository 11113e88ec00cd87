package command

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// notPaths are the flags of all commands of this repository that are text and no path.
var notPaths = []string{
	"cwtch-attack -storage", "cwtch-bench -storage", "cwtch-bench -only", "cwtch-fault -mix",
	"cwtch-group -tor-control-user", "cwtch-group -server", "cwtch-group -name", "cwtch-group -since",
	"cwtch-relay -server", "cwtch-relay -role", "cwtch-relay -bytes-per-day", "cwtch-relay -description", "cwtch-relay -storage", "cwtch-relay -max-age", "cwtch-relay -max-bytes",
	"cwtch-plugin -claim", "cwtch-plugin -run", "cwtch-plugin -module", "cwtch-plugin -prefix", "cwtch-plugin -lang",
	"cwtch-plugin -shows",                  // a URL, or a path that checks by itself
	"cwtch-relay -from", "cwtch-relay -to", // in the language of the file, in which paths are checked
}

// TestFlagsThatArePaths reads the source of all commands: a flag that holds text is either
// a path, and defined by package pathname or by PathFlag, or one of notPaths.
func TestFlagsThatArePaths(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../*/*.go", "../*/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no source: %v", err)
		}
		files = append(files, found...)
	}
	known := make(map[string]bool)
	for _, name := range notPaths {
		known[name] = false
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			flag, ok := textFlag(n)
			if !ok {
				return true
			}
			name := filepath.Base(filepath.Dir(file)) + " -" + flag
			if _, listed := known[name]; !listed {
				t.Errorf("%s: is it a path? Then define it with pathname.Var or command.PathFlag; else it belongs to notPaths", name)
			}
			known[name] = true
			return true
		})
	}
	for name, found := range known {
		if !found {
			t.Errorf("%s is no flag", name)
		}
	}
}

// textFlag returns the name of the flag that a node defines, if the flag holds text and is not
// declared to be a path: a call of package flag, or a value of the library for commands. That of
// command.PathFlag itself has no name in its source.
func textFlag(n ast.Node) (name string, ok bool) {
	var arg ast.Expr
	switch n := n.(type) {
	case *ast.CallExpr:
		at, known := map[string]int{"String": 0, "StringVar": 1, "Func": 0, "TextVar": 1}[methodName(n)]
		if !known || len(n.Args) < 2 { // with one argument, String reads a flag
			return "", false
		}
		arg = n.Args[at]
	case *ast.CompositeLit:
		of, isSelector := n.Type.(*ast.SelectorExpr)
		if !isSelector || !slices.Contains([]string{"StringFlag", "StringSliceFlag", "StringMapFlag", "GenericFlag", "TextFlag"}, of.Sel.Name) {
			return "", false
		}
		for _, element := range n.Elts {
			if pair, isPair := element.(*ast.KeyValueExpr); isPair && fmt.Sprint(pair.Key) == "Name" {
				arg = pair.Value
			}
		}
	}
	text, ok := arg.(*ast.BasicLit)
	if !ok || text.Kind != token.STRING {
		return "", false
	}
	name, err := strconv.Unquote(text.Value)
	return name, err == nil
}

func methodName(call *ast.CallExpr) string {
	if f, ok := call.Fun.(*ast.SelectorExpr); ok {
		return f.Sel.Name
	}
	return ""
}
