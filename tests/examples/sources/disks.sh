#!/bin/sh
# Readings of this machine's filesystems, one JSON object a line. The gateway runs it once per interval.
df -P -k | awk 'NR > 1 && $2 > 0 {
    printf "{\"point\":\"used\",\"value\":%d,\"unit\":\"KiBy\",\"tags\":{\"mount\":\"%s\"}}\n", $3, $6
    printf "{\"point\":\"total\",\"value\":%d,\"unit\":\"KiBy\",\"tags\":{\"mount\":\"%s\"}}\n", $2, $6
}'
