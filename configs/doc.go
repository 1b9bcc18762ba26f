// Package configs reads, checks and prints the configuration of a node.
//
// # Where a value comes from
//
// [Load] takes each key from the first of these that has it:
//
//  1. its command-line flag, added to a command by [AddFlags]: lease.type is
//     --lease-type (exec has no flag; a command line has "--" for it);
//  2. its environment variable: lease.type is LITEFS_LEASE_TYPE. A variable
//     that is set but empty counts as not set. A LITEFS_ variable that belongs
//     to no key is reported in [Report.Notices] and ignored, because other
//     tools set such variables too;
//  3. the configuration file: the one named in [Options.File], which must
//     exist, or else the first that exists of ./litefs.yml, $HOME/litefs.yml
//     and /etc/litefs.yml. There need not be one. A key without a value
//     ("dir:") counts as left out;
//  4. its default, of which some are derived from other keys.
//
// The result is a plain [Config]; nothing of the sources is left in it.
//
// # The file
//
// The file is one YAML document of at most [MaxFileSize] bytes. "fuse.dir" may
// be written nested or in one piece. Unknown keys, duplicate keys and values of
// the wrong type are errors that name the key, the file and the line; all of
// them are reported, not only the first.
//
// Variables are expanded in values, never in keys, and after the YAML has been
// parsed, so no value of a variable can change the structure of the file:
//
//	$NAME  ${NAME}     the value; it is an error if the variable is not set
//	${NAME:-default}   the value, or the default if it is not set or empty
//	$$                 a dollar sign
//
// A dollar sign before anything else stands for itself. A variable that is not
// set is an error and not an empty string, because "${ROOT}/data" must never
// come to mean "/data". HOSTNAME always has a value: shells set it without
// exporting it, so without one in the environment it is the machine's host name.
//
// The file format of LiteFS 0.2 (mount-dir, data-dir, consul, static, ...) is
// read as well; every key of it gives a notice that names its successor.
//
// # Adding a key
//
// A key is a field of [Config] and a row of the table in keys.go: default, flag,
// environment variable, file key and output follow from the row. Add its rule
// to the Validate method of its block, and describe it in litefs.yml; the tests
// fail until field, row and description agree.
package configs
