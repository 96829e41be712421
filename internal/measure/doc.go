// Package measure finds out what a path to an echo server does to what is sent over it: how long it takes, what is
// lost, late, doubled, out of order or damaged, and how much it bears.
//
// Run sends numbered payloads (Codec) over one or many connections, by a timetable that waits for no reply (an open
// loop) or each as soon as there is room (a closed one), and accounts for every one of them. Each connection has a
// sender and a receiver of its own, so that a peer that stops reading holds up nobody else, and a clock for all hands
// out what is due. Knock measures connections alone, where there is no echo server. Search looks for the highest rate
// that a condition bears, run by run.
//
// Two times are kept of a probe. The latency counts from when it was to be sent, so that a server which stops for a
// second is charged for all that would have been asked meanwhile (coordinated omission); the service time counts from
// when it was sent. Phases of a connection (resolve, connect, TLS, first byte) are never part of either.
//
// All times are of the monotonic clock. Callbacks of a Plan are called by one goroutine at a time and hold up the
// connection they tell of.
package measure
