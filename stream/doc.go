// Package stream carries changes from the primary to its replicas over HTTP.
package stream
