"""`reve-middleware check URL`: looks at a live page as a browser would, and says what is wrong and what to do.

In the order of the flow: `markup` and `tag` (is it there?), `page` (if not, why?), `policy`, `script` (does it load?),
`caching`, `refusals` and `cookies` (does the capture path refuse and keep what it must?), `link` (the bot's webhook).
All of these take plain values and give findings. `browser` is the one that sends anything, `look` the order of it,
`command` the words on the command line.
"""
