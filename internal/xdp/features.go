package xdp

// Features says what an interface can do for the engine.
type Features struct {
	Driver    string  // its name; empty if nobody tells
	Ethernet  bool    // frames have Ethernet headers
	Native    Ability // programs run in the driver; else the kernel runs them behind it
	Redirects Ability // what is redirected to it is sent
	Program   uint32  // the number of the XDP program that is attached; 0: none
}

// An Ability is what the kernel says of whether something can be done.
type Ability uint8

// What there is to say.
const (
	Unknown Ability = iota // nobody can tell beforehand
	No
	Yes
)
