package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Each of these overflows the stack of the parser or of the evaluation, takes
// it minutes, or makes a value out of proportion, if it is not refused before.
func TestHostileTextIsRefused(t *testing.T) {
	const n = 30_000
	for name, text := range map[string]string{
		"brackets":          "a = " + strings.Repeat("[", n),
		"calls":             "a = " + strings.Repeat("f(", n),
		"objects":           "a = " + strings.Repeat("{b=", n),
		"templates":         "a = " + strings.Repeat(`"${`, n),
		"blocks":            strings.Repeat("a {\n", n),
		"heredocs":          strings.Repeat("a = <<X\n${", n),
		"negations":         "a = " + strings.Repeat("!", n) + "true",
		"signs":             "a = " + strings.Repeat("-", n) + "1",
		"sums":              "a = 1" + strings.Repeat("+1", n),
		"conditions":        "a = 1" + strings.Repeat("?1:1", n),
		"comparisons":       "a = 1" + strings.Repeat(">=1", n),
		"indexes":           "a = [1]" + strings.Repeat("[[0]]", n),
		"splats":            "a = [1]" + strings.Repeat("[*]", n),
		"attribute splats":  "a = [1]" + strings.Repeat(".*", n),
		"attributes":        "a = b" + strings.Repeat(".b", n),
		"directives":        `a = "` + strings.Repeat("%{if true}", n) + `"`,
		"number to text":    `data_dir = "${1e100000000}"`,
		"long number":       "data_dir = " + strings.Repeat("9", n),
		"product of loops":  `data_dir = [for a in [1, 2] : [for b in [1, 2] : b]]`,
		"loop over objects": `data_dir = {for a in [1, 2] : a => a}`,
		"loop in a nest":    `server "a" { description = "${[for a in [1]: a][0]}" }`,
	} {
		t.Run(name, func(t *testing.T) {
			_, body, err := parseFile("server.hcl", []byte(text))
			if err == nil {
				t.Fatalf("parsed: %+v", body)
			}
			refusals := []string{"nested too deeply", "too many operators", "number out of range", "loops are not supported"}
			if got := err.(*Error).Diagnostics[0].Summary; !slices.Contains(refusals, got) {
				t.Errorf("refused because of %q, want one of %q", got, refusals)
			}
		})
	}
}

func TestDepthIsThatOfTheText(t *testing.T) {
	for _, text := range []string{
		"a = " + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
		"a = [[1, 2], f(3), \"${b}\"]\n" + strings.Repeat("b {\n}\n", 5000),
		"a = [" + strings.Repeat(`"x${1}", `, 5000) + "]",
	} {
		if _, _, err := parseFile("server.hcl", []byte(text)); err != nil {
			t.Errorf("%.60s…: %v", text, err)
		}
	}
}

func TestLargeFile(t *testing.T) {
	_, err := Load(writeConfig(t, strings.Repeat("# comment\n", maxFile/10+1)), testPlugins)
	if err == nil || !strings.Contains(err.Error(), "larger than 256 KiB") {
		t.Errorf("the error is %v", err)
	}
}

func TestManyErrors(t *testing.T) {
	_, err := Load(writeConfig(t, strings.Repeat("web {}\n", 10_000)), testPlugins)
	failure, ok := err.(*Error)
	if !ok || len(failure.Diagnostics) != maxDiagnostics {
		t.Fatalf("the error is %v", err)
	}
}

// Neither a value nor all of them together can be larger than what is said.
func TestFunctionOutputIsBounded(t *testing.T) {
	secret := strings.Repeat("s", maxSecret)
	t.Setenv("CWTCH_RELAY_SECRET", secret)
	text := "network \"tor\" {}\n"
	server := "server \"s%d\" {\n  description = env(\"CWTCH_RELAY_SECRET\")\n}\n"
	for i := range maxSecrets / maxSecret {
		text += fmt.Sprintf(server, i)
	}
	_, err := Load(writeConfig(t, text), testPlugins)
	if err != nil {
		t.Errorf("refused within the bound: %v", err)
	}
	text += fmt.Sprintf(server, maxSecrets)
	_, err = Load(writeConfig(t, text), testPlugins)
	if err == nil || !strings.Contains(err.Error(), "together") {
		t.Errorf("not refused beyond the bound: %v", err)
	}
	if strings.Contains(err.Error(), "ssss") {
		t.Error("the value is shown")
	}
}
