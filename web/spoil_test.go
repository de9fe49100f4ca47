package web

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
)

// poison is what must never reach a page as it is.
const poison = "<script>alert(1)</script>\" onmouseover=\"alert(2)\" ' javascript:alert(3) \u202egnp.exe\u202c a\u200bb\u2066c\u2069 \u00ad\ufeff\x00\x1b[31m\U000E0041 \u2028&lt;img src=x onerror=alert(4)&gt;"

var poisoned atomic.Int64

// hostile is a string like no other, so that it may serve as an id: of 200 lines where text is expected, of a thousand
// letters in one word where a name is. hostileArguments has the longest.
func hostile(name string) string {
	begin := fmt.Sprintf("javascript:%s-%d/", name, poisoned.Add(1)) + poison
	if slices.Contains(texts, name) {
		return begin + strings.Repeat("\nline <b>", 200)
	}
	return begin + strings.Repeat("W", 1<<10)
}

var texts = []string{"Description", "Text", "Error", "Reason", "Value", "value", "deep", "document", "Typed", "Message", "Command", "Config"}

// kept are the fields whose values are chosen by us, not by others.
var kept = []string{"State", "Execution", "Risk", "Decision", "Tone", "Icon", "Evidence", "Transport", "Section", "Tab", "Form", "Severity"}

// spoiled gives v with poison in every string that somebody else may have written, deeply.
func spoiled[T any](v T) T {
	out := reflect.New(reflect.TypeFor[T]()).Elem()
	out.Set(deep(reflect.ValueOf(v), ""))
	return out.Interface().(T)
}

func deep(v reflect.Value, field string) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		if slices.Contains(kept, field) || v.String() == "" && field == "Sub" {
			return v
		}
		out.SetString(hostile(field))
	case reflect.Struct:
		if v.Type().PkgPath() != reflect.TypeFor[Page]().PkgPath() {
			return v // a time
		}
		for i := range v.NumField() {
			out.Field(i).Set(deep(v.Field(i), v.Type().Field(i).Name))
		}
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(deep(v.Elem(), field))
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v
		}
		for i := range v.Len() {
			out.Set(reflect.Append(out, deep(v.Index(i), field)))
		}
	default:
		return v
	}
	return out
}

func hostileArguments() []byte {
	return []byte(`{` + string(quoted(hostile("key"))) + `:` + string(quoted(hostile("value")+strings.Repeat("W", 10<<10))) +
		`,"deep":{"list":[1,true,null,{"x` + "\u202e" + `y":` + string(quoted(hostile("deep"))) + `}]},"token":"hunter2-hunter2","lines":` + string(quoted(lines(2000))) + `}`)
}
