#!/bin/sh
# A page of docs/ as Doxygen reads it: labelled by its path, so that comments of headers can link
# it; its links to other pages by these labels, since Doxygen 1.9.8 finds no labelled page by its
# path, and none finds a heading of one; without the links that leave the pages, which would be
# dead; images by their names; and bold code, which it does not know, as code.
path=$(printf '%s' "$1" | sed -e 's#.*/docs/##' -e 's#^docs/##')
name=$(printf '%s' "$path" | sed -e 's#/#_#g' -e 's#\.md$##')
[ "$name" = README ] || label="1s/^# .*/& {#page_$name}/"
case $path in
guide/*) here=guide_ ;;
*) here= ;;
esac
sed -E -e "${label:-}" -e 's#\]\((\.\./)?images/#](#g' -e 's#\*\*(`[^`]*`)\*\*#\1#g' \
    -e 's#\[([^]]*)\]\((\.\./)+(code|include|lib|examples|tests|bench|bindings|[A-Z]+[A-Za-z.]*)[^)]*\)#\1#g' \
    -e 's,\]\(\.\./([a-z-]+)\.md(#[a-z_-]+)?\),](@ref page_\1),g' \
    -e 's,\]\(guide/([a-z-]+)\.md(#[a-z_-]+)?\),](@ref page_guide_\1),g' \
    -e "s,\]\(([a-z-]+)\.md(#[a-z_-]+)?\),](@ref page_$here\1),g" "$1"
