// Command countersign is the governance control plane for the Model Context Protocol, its reference gateway,
// and a small MCP client for trying them. See README.md, and countersign --help.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
