package lab

import (
	"os"
	"testing"
)

// unavailable skips a test that cannot have the lab, or fails it where the lab is required.
func unavailable(t testing.TB, why error) {
	t.Helper()
	const text = "no lab here: %v; it needs Linux with network namespaces, veth and nftables, as root or in a user namespace"
	if os.Getenv("SONDE_LAB") == "require" {
		t.Fatalf(text, why)
	}
	t.Skipf(text, why)
}
