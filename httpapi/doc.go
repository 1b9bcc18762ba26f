// Package httpapi is the HTTP server of a node.
//
//	GET  /info        the state of the node, as JSON: see Info
//	GET  /healthz     200 while the process serves
//	GET  /readyz      200 once the databases can be used, 503 before
//	     /stream      replication; package stream
//	POST /difference  replication; package stream
//
// Any other path is answered with 404, any other method with 405.
//
// Requests for the node's state carry no body and are answered from memory: each has
// requestTimeout for all of it. Replication streams last as long as the connection;
// package stream bounds what it reads, and ends connections that are silent.
package httpapi
