package measure

import (
	"testing"

	"go.uber.org/goleak"

	"sonde/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	goleak.VerifyTestMain(m)
}
