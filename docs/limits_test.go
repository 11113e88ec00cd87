package docs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
)

// TestLimitsOfPlugins shows that the page for authors has the limits that the relay keeps.
func TestLimitsOfPlugins(t *testing.T) {
	page, err := os.ReadFile("plugin-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		fmt.Sprintf("| start, until the handshake line | %s |", spoken(host.StartTimeout)),
		fmt.Sprintf("| the handshake line | %s, with", size(host.MaxHandshakeLine)),
		fmt.Sprintf("| Describe, Validate | %s |", spoken(host.DescribeTimeout)),
		fmt.Sprintf("| Configure | %s; %s for a store,", spoken(host.ConfigureTimeout), spoken(host.OpenTimeout)),
		fmt.Sprintf("| Health | %s;", spoken(host.HealthTimeout)),
		fmt.Sprintf("| a call of the kind | %s; `Info` %s, `Compact` and `Check` %s, `Handle` %s, `Export` and `ForceFlush` %s; the plugin is killed when calls of one method go unanswered for %s (`Compact`, `Check` and `Handle`: %s) |",
			spoken(host.CallTimeout), spoken(host.InfoTimeout), spoken(host.StepTimeout), spoken(host.HandleTimeout), spoken(host.ExportTimeout), spoken(host.HangTimeout), spoken(host.StepTimeout)),
		fmt.Sprintf("| Drain, Shutdown and the end together | %s |", spoken(host.EndTimeout)),
		fmt.Sprintf("| a request | %s:", size(host.MaxMessage)),
		fmt.Sprintf("| an answer | %s; %s where an answer is a few numbers; headers %s |", size(host.MaxAnswer), size(host.MaxShortAnswer), size(host.MaxHeaders)),
	} {
		if !strings.Contains(string(page), "\n"+row) {
			t.Errorf("docs/plugin-protocol.md lacks the line %s", row)
		}
	}
}

// spoken is a duration as on the page.
func spoken(d time.Duration) string {
	if d > 2*time.Minute {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

func size(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
