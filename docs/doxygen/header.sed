s#(/\*\*< )>#\1\&gt;#
s#(@param +[a-z_]+ +)>#\1\&gt;#
s#docs/([a-z]+)\.md#@ref page_\1 "docs/\1.md"#g
s#et al\. #et al.\\ #g
