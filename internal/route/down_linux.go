package route

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// Down returns an error that is ErrDown if an interface is down, or gone, by which a Hop leaves that was looked up.
func (t *Table) Down() error {
	for index, name := range t.interfaces() {
		link, err := netlink.LinkByIndex(index)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDown, name, err)
		}
		if flags := link.Attrs().Flags; flags&net.FlagUp == 0 || flags&net.FlagRunning == 0 {
			return fmt.Errorf("%w: %s", ErrDown, name)
		}
	}
	return nil
}
