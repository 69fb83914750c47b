module lookout/probe

go 1.24
