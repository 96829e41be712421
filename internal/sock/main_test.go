package sock

import (
	"testing"

	"sonde/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	m.Run()
}
