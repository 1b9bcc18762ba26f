package configs

import (
	"fmt"
	"strings"
)

// maxDistance is the distance from which on two names have nothing in common.
const maxDistance = 4

// nearest returns the candidate nearest to name, or nothing if none is near.
func nearest(name string, candidates []string) string {
	best, least := "", min(len(lastPart(name))/3+2, maxDistance)
	for _, c := range candidates {
		if d := distance(name, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// didYouMean returns a clause that offers name, or nothing if name is empty.
func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", name)
}

// knownNames returns all keys, and the blocks that hold them.
func knownNames() []string {
	var names []string
	seen := map[string]bool{}
	for _, k := range keys {
		for i, c := range k.name + "." {
			if prefix := k.name[:i]; c == '.' && !seen[prefix] {
				seen[prefix] = true
				names = append(names, prefix)
			}
		}
	}
	return names
}

// distance compares two dotted names: by spelling, or by the spelling of the
// last part where only the place differs ("lease.url" for "lease.consul.url").
func distance(a, b string) int {
	whole := editDistance(a, b)
	last := editDistance(lastPart(a), lastPart(b))
	if strings.TrimSuffix(a, lastPart(a)) != strings.TrimSuffix(b, lastPart(b)) {
		last++
	}
	return min(whole, last)
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// maxCompared bounds the cost of editDistance; no name is nearly as long.
const maxCompared = 64

// editDistance is the Levenshtein distance of the two strings' first bytes.
func editDistance(a, b string) int {
	a, b = a[:min(len(a), maxCompared)], b[:min(len(b), maxCompared)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
