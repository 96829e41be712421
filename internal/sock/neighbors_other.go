//go:build !linux

package sock

import (
	"errors"
	"fmt"
	"runtime"
)

// ReadNeighbors reports that the table cannot be read here.
func ReadNeighbors() (Neighbors, error) {
	return nil, fmt.Errorf("read the neighbour table on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
