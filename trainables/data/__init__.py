"""From what people have on disk to rows: found, read, converted to what a stage needs, and cut into three parts."""
