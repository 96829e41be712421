package lab

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	xdp "github.com/cilium/ebpf/link"
)

//go:generate go tool bpf2go -tags linux -target bpfel -cflags "-O2 -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu" -type tally answer bpf/answer.c
//go:generate go tool bpf2go -tags linux -target bpfel -cflags "-O2 -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu" flood bpf/flood.c

// A program is an Answerer or a Sink at work. The kernel detaches it when this process ends.
type program struct {
	tallies *ebpf.Map
	link    xdp.Link
}

// attach has a device receive through the program.
func attach(e *end) (*program, error) {
	spec, err := loadAnswer()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables["silent"].Set(e.Wire == Sink); err != nil {
		return nil, err
	}
	var objects answerObjects
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return nil, fmt.Errorf("load the answering program: %w", err)
	}
	at, err := index(e.Name)
	if err != nil {
		return nil, err
	}
	attached, err := xdp.AttachXDP(xdp.XDPOptions{Program: objects.Answer, Interface: at, Flags: xdp.XDPDriverMode})
	if err != nil {
		return nil, fmt.Errorf("attach the answering program to %s: %w", e.Name, err)
	}
	return &program{objects.Tallies, attached}, nil
}

// tally adds up what the processors have counted.
func (p *program) tally() (sum Tally, err error) {
	if p == nil {
		return sum, fmt.Errorf("nothing is tallied: the host has no Wire")
	}
	var each []answerTally
	if err := p.tallies.Lookup(uint32(0), &each); err != nil {
		return sum, fmt.Errorf("read the tally: %w", err)
	}
	for _, t := range each {
		sum.Open, sum.Closed, sum.Silent = sum.Open+t.Open, sum.Closed+t.Closed, sum.Silent+t.Mute
		sum.Unused, sum.Resets, sum.Others, sum.Broken = sum.Unused+t.Unused, sum.Resets+t.Resets, sum.Others+t.Others, sum.Broken+t.Broken
		if first := time.Duration(t.First); first > 0 && (sum.First == 0 || first < sum.First) {
			sum.First = first
		}
		sum.Last, sum.Timed = max(sum.Last, time.Duration(t.Last)), sum.Timed+t.Timed
	}
	return sum, nil
}

func (p *program) reset() error {
	if p == nil {
		return fmt.Errorf("nothing is tallied: the host has no Wire")
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	return p.tallies.Put(uint32(0), make([]answerTally, cpus))
}

// Tally returns what the host's Answerer or Sink has met so far.
func (h *Host) Tally(t testing.TB) Tally {
	t.Helper()
	return h.must(t, request{Tally: true}).Tally
}

// ResetTally begins the tally anew. Nothing may be on its way to the host.
func (h *Host) ResetTally(t testing.TB) {
	t.Helper()
	h.must(t, request{Reset: true})
}
