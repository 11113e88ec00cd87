package main

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// notPaths are the flags of all commands of this repository that are text and no path.
var notPaths = []string{
	"cwtch-attack -storage", "cwtch-bench -storage", "cwtch-bench -only", "cwtch-fault -mix",
	"cwtch-group -tor-control-user", "cwtch-group -server", "cwtch-group -name", "cwtch-group -since",
	"cwtch-relay -server", "cwtch-relay -run", "cwtch-relay -module", "cwtch-relay -prefix", "cwtch-relay -lang",
	"cwtch-relay -shows",                   // a URL, or a path that checks by itself
	"cwtch-relay -from", "cwtch-relay -to", // in the language of the file, in which paths are checked
	"cwtch-relay -read", // checks by itself, see TestUnexpandedPaths
}

// TestFlagsThatArePaths reads the source of all commands: a flag that holds text is either
// a path, and defined by package pathname, or one of notPaths.
func TestFlagsThatArePaths(t *testing.T) {
	files, err := filepath.Glob("../*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source: %v", err)
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
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			at, ok := map[string]int{"String": 0, "StringVar": 1, "Func": 0, "TextVar": 1}[method(call)]
			if !ok || len(call.Args) <= at {
				return true
			}
			if text, ok := call.Args[at].(*ast.BasicLit); ok && text.Kind == token.STRING {
				flag, _ := strconv.Unquote(text.Value)
				name := filepath.Base(filepath.Dir(file)) + " -" + flag
				if _, listed := known[name]; !listed {
					t.Errorf("%s: is it a path? Then define it with pathname.Var; else it belongs to notPaths", name)
				}
				known[name] = true
			}
			return true
		})
	}
	for name, found := range known {
		if !found {
			t.Errorf("%s is no flag", name)
		}
	}
}

func method(call *ast.CallExpr) string {
	if f, ok := call.Fun.(*ast.SelectorExpr); ok {
		return f.Sel.Name
	}
	return ""
}

func TestUnexpandedPaths(t *testing.T) {
	t.Setenv("HOME", "/home/ann")
	t.Chdir(t.TempDir())
	for _, line := range []string{
		"-config ~/x", "-config=~/x", "-config $HOME/x", "-config ${HOME}/x", "-config %h/x",
		"init -dir ~/x", "validate -config ~/x", "status -config ~/x", "reload -config ~/x",
		"bundle -config ~/x", "bundle -config server.hcl -o ~/x",
		"plugin list -config ~/x", "plugin describe ~/x", "plugin sum ~/x", "plugin test ~/x",
		"plugin test /bin/true -config ~/x", "plugin test /bin/true -read ~/x", "plugin describe /bin/true -read ~/x",
		"plugin new storage diary -dir ~/x", "plugin new storage diary -sdk ~/x",
		"storage copy -from storage -to storage -config ~/x",
	} {
		var out, errs bytes.Buffer
		status := runCommand(context.Background(), strings.Fields(line), &out, &errs)
		if status != 2 || !strings.Contains(errs.String(), "which is not expanded here: write /home/ann/x") {
			t.Errorf("%s: status %d, %s%s", line, status, &out, &errs)
		}
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("made %v, %v", files, err)
	}
}
