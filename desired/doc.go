// Package desired is the language of the files in which teams, servers, grants and guardrails are kept: what a
// registry should hold, said in YAML.
//
//	files ──Read──▶ Set ──Write──▶ a file that reads as the same Set
//
// A [Set] says what should be there, by names and keys that people choose; ids belong to the registry. Its JSON is the
// YAML said in JSON, so that the same words go to /v1. The package is pure: it knows no registry, reads no folder and
// has no clock. What it cannot know, such as whether a team exists, the registry finds when it plans.
//
// Reading is strict, since a file that is half understood is a policy that nobody wrote: an unknown field, a key said
// twice, a value of another type, an anchor, a tag or a second document is a [Fault] with its line and column. All
// faults of all files are told at once, and nothing is read from files with a fault.
package desired
