package configs

import "fmt"

// legacyKeys maps the keys of the LiteFS 0.2 file format to their successors.
// Keys that both formats share (http.addr, exec) are not in it.
var legacyKeys = map[string]string{
	"mount-dir":                  "fuse.dir",
	"data-dir":                   "data.dir",
	"debug":                      "fuse.debug",
	"candidate":                  "lease.candidate",
	"retention.duration":         "data.retention",
	"retention.monitor-interval": "data.retention-monitor-interval",
	"consul.url":                 "lease.consul.url",
	"consul.key":                 "lease.consul.key",
	"consul.ttl":                 "lease.consul.ttl",
	"consul.lock-delay":          "lease.consul.lock-delay",
	"consul.hostname":            "lease.hostname",
	"consul.advertise-url":       "lease.advertise-url",
	"static.primary":             "lease.static.primary",
	"static.hostname":            "lease.hostname",
	"static.advertise-url":       "lease.advertise-url",
}

// legacyLeases names the blocks of the LiteFS 0.2 file format that choose the
// type of the lease by being there.
var legacyLeases = map[string]bool{LeaseConsul: true, LeaseStatic: true}

// ignoredKey is the one key of the LiteFS 0.2 file format without a successor:
// the daemon always exits on an error at start.
const ignoredKey = "exit-on-error"

// deprecated notes that the file uses the key old where it should use current.
func (d *document) deprecated(old, current string, line int) {
	d.notices = append(d.notices, fmt.Sprintf("%q is deprecated, use %q (%s)", old, current, d.at(line)))
}

// completeLease sets what the legacy blocks consul and static say by being
// there: the type of the lease, and that a static node is a replica unless it is
// said to be the primary.
func (d *document) completeLease() {
	for _, block := range d.leases {
		first, ok := d.entries["lease.type"]
		switch {
		case !ok:
			d.entries["lease.type"] = block
		case first.name == "lease.type" && first.raw != block.raw:
			d.fail(block.line, "the block %q contradicts lease.type %q (line %d)", block.name, first.raw, first.line)
		case first.raw != block.raw:
			d.fail(block.line, "the blocks %q and %q (line %d) exclude each other", block.name, first.name, first.line)
		}
		if _, ok := d.entries["lease.static.primary"]; !ok && block.name == LeaseStatic {
			d.entries["lease.static.primary"] = entry{raw: "false", name: block.name, line: block.line}
		}
	}
}
