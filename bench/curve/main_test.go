package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

const rows = `tool,asked,sent,found
xdp,max,3100000,1.00000
xdp,10000,9990,1.00000
masscan,max,151000,0.61000
other,100000,99000,0.99900
`

// TestDraw holds that the picture is well formed and has each tool and each measure.
func TestDraw(t *testing.T) {
	curves, err := read(strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	if len(curves) != 3 || curves[0].points[0].rate != 9990 {
		t.Errorf("curves %+v", curves)
	}
	svg := draw(curves)
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
	for _, want := range []string{"sonde, xdp", "masscan", "other", "3.1 M/s at the most: 100.0 %", "150 k/s at the most: 61.0 %", ">60 %<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q in\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, ">50 %<") {
		t.Errorf("the scale is off:\n%s", svg)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, in := range []string{"", "tool,asked,sent,found\n", "h\nxdp,1,1\n", "a,b,c,d\nxdp,max,fast,1\n", "a,b,c,d\nxdp,max,0,1\n", "a,b,c,d\nxdp,max,1,1.1\n"} {
		if _, err := read(strings.NewReader(in)); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}
