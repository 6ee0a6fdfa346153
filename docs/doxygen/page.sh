#!/bin/sh
# A page of docs/ as Doxygen reads it: labelled by its path, so that comments of headers can link
# it; without the links that leave the pages, which would be dead; images by their names; and bold
# code, which it does not know, as code.
name=$(printf '%s' "$1" | sed -e 's#.*/docs/##' -e 's#^docs/##' -e 's#/#_#g' -e 's#\.md$##')
[ "$name" = README ] || label="1s/^# .*/& {#page_$name}/"
sed -E -e "${label:-}" -e 's#\]\((\.\./)?images/#](#g' -e 's#\*\*(`[^`]*`)\*\*#\1#g' \
    -e 's#\[([^]]*)\]\((\.\./)+(code|include|lib|examples|tests|bench|bindings|[A-Z]+[A-Za-z.]*)[^)]*\)#\1#g' "$1"
