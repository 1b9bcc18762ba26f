// Package archtest holds the tests that keep the layout honest: who may import
// whom, which package may use a heavy dependency, how long a file may grow, and
// that the repository speaks of nothing but the project.
package archtest
