package policy

// factor is one of the three ways to prove who one is.
type factor uint8

// The factors, as bits.
const (
	knowledge factor = 1 << iota
	possession
	inherence
)

// factorOf says what a value of amr proves, by RFC 8176. What is left out proves nothing by itself: geo, rba, user and
// wia describe the circumstances, mca a channel, and values of a provider's own nobody can know.
func factorOf(method string) factor {
	switch method {
	case "pwd", "pin", "kba":
		return knowledge
	case "otp", "hwk", "swk", "sc", "sms", "tel", "pop":
		return possession
	case "face", "fpt", "iris", "retina", "vbm":
		return inherence
	case "mfa":
		return knowledge | possession // the provider vouches for two, whichever they were
	}
	return 0
}

// SecondFactor reports whether p signed in with more than one factor: amr says mfa, or holds methods of two different
// factors, such as pwd and otp. A lone otp, or a key alone, is one factor, whatever it is; nothing told is none.
func (p *Principal) SecondFactor() bool {
	var shown factor
	for _, method := range p.AMR {
		shown |= factorOf(method)
	}
	return shown&(shown-1) != 0 // more than one bit
}
