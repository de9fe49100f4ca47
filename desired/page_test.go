package desired

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTheExamplesOfThePage reads every set in docs/files.md, and holds the short form to what the page says it means.
func TestTheExamplesOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/files.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	if len(examples) != 4 {
		t.Fatalf("%d examples", len(examples))
	}
	var sets []Set
	for i, example := range examples {
		set, _, err := Read(File{"files.md", example[1]})
		if err != nil {
			t.Fatalf("example %d: %v", i+1, err)
		}
		sets = append(sets, set)
	}
	if diff := cmp.Diff(sets[1], sets[2]); diff != "" {
		t.Errorf("the short form means something else:\n%s", diff)
	}
	if again, err := Write(sets[2]); err != nil || string(again) != string(examples[2][1]) {
		t.Errorf("written, the long form is\n%s\n%v", again, err)
	}
}
