// Package schemadiff says what a change of a JSON Schema means: which values a caller may send that it could not
// send before, and which it may not send any more.
//
// It is a proof, not a guess. For each place where two schemas differ it asks two questions, by the same rules:
//
//	                        what the old accepted,      what the new accepts,
//	                        the new accepts             the old accepted
//	TextOnly                proven                      proven
//	Wider, NewPower         proven                      –
//	Narrower                –                           proven
//	Breaking                –                           –
//
// What is not proven counts as false: a keyword that is not known, a dialect other than draft-07 and 2020-12, a
// reference that leads out of the schema, a schema too large to compare. So a Breaking change may turn out to be
// harmless, but the promise holds that the tests are about: if all changes are Compatible, every value that is valid
// under the old schema is valid under the new one.
//
// The kinds, precisely. Each speaks of one place and one keyword, or of a few that mean something only together:
//
//   - Wider: more values are accepted at this place, and all that were.
//   - NewPower: a property is named that was not, or properties that are not named are let in. It is the form of
//     Wider in which a server asks for something it could not be given before, or tells a model that it may give it.
//   - Narrower: fewer values are accepted at this place, and none that was not. A call that keeps to what is left
//     works as before. A property that becomes known in an object which was open before is NewPower, and Narrower
//     besides if it says what its value must be: until then it could have been anything.
//   - Breaking: a call fails for its shape, whatever values it carries (a property that became required, or that is
//     refused from now on; another type; nothing accepted at all), or neither direction is proven.
//   - TextOnly: titles, descriptions, defaults, examples, and one meaning written in two ways.
//
// Neither Narrower nor Breaking is Compatible.
//
// The schema of a conjunction is compared keyword by keyword: the new one accepts what the old one did if the old one
// implies each of its keywords. Subschemas that see a part of the value, or the same value in a conjunction, are
// compared in turn, and the changes are theirs. Those of "not", "if", "contains", of a disjunction that was rearranged
// and the like are only asked for a proof, and the change is that of the keyword. References within the schema are
// followed; a pair that is met again deeper in the value is taken as proven there, which is how one proves something
// of recursive types, and one that is met again for the same value is not.
//
// Schemas come from servers and are hostile: the work is bounded by a budget, recursion by the depth that
// canonical.Exact allows, the list by a length, and no text of the schema gets into a Meaning but the quoted name of a
// property.
package schemadiff
