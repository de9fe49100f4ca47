package gateway

func serveTestStdio(mode string) {}
