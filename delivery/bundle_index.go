package delivery

import "countersign/policy"

// commonGrants gives, for each kind, the grants that reach all tools of it: the bundle holds their reach once.
func commonGrants(tools []policy.Tool) map[policy.Kind][]int {
	commons := map[policy.Kind][]int{}
	for _, t := range tools {
		if common, ok := commons[t.Kind]; ok {
			commons[t.Kind] = without(common, without(common, t.Grants))
		} else {
			commons[t.Kind] = t.Grants
		}
	}
	return commons
}

// without gives those of a that are not in b; both ascend.
func without(a, b []int) []int {
	var rest []int
	for _, x := range a {
		for len(b) > 0 && b[0] < x {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != x {
			rest = append(rest, x)
		}
	}
	return rest
}
