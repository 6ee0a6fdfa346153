#!/bin/sh
# A page of docs/ as Doxygen reads it: labelled by its name, so that comments of headers can link
# it; without the links that leave docs/, which would be dead.
name=$(basename "$1" .md)
[ "$name" = README ] || label="1s/^# .*/& {#page_$name}/"
sed -E -e "${label:-}" \
    -e 's#\[([^]]*)\]\((\.\./)+(include|lib|examples|tests|bench|bindings|[A-Z]+[A-Za-z.]*)[^)]*\)#\1#g' "$1"
