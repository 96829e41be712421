package cli

import (
	"os"

	"github.com/spf13/cobra"
)

// Commands returns sonde's command with all those below it, for a program that writes
// about them. It is not to be executed: Main is the only door.
func Commands() *cobra.Command {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	return a.root()
}
