"""The words that captions are made of: synonyms, openings, places, the clutter of each source.

Belongs here: lists of words and templates, chosen from by captions.py, phrases.py and vague.py.
Does not belong here: how they are put together, words of questions (questions.py).

The nouns of shapes and colours have no synonyms, so that a caption can be judged. The number and order of the options
decide every generated text: the files that ship were made from these.
"""

SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
BACKGROUND_WORDS = {
    "white": ("white", "plain white"),
    "grey": ("grey", "gray"),
    "beige": ("beige", "sand"),
    "light blue": ("light blue", "sky blue"),
}

OPENINGS = (
    "", "", "a picture of ", "an image of ", "a drawing of ", "a simple drawing of ", "a photo of ",
    "there is ", "here is ", "we see ", "this shows ", "the picture shows ", "you can see ",
    "an illustration of ",
)  # fmt: skip
LONE_PLACES = {
    "centre": ("in the middle", "in the centre", "right in the middle of the picture"),
    "left": ("on the left", "at the left", "on the left side of the picture"),
    "right": ("on the right", "at the right", "on the right side of the picture"),
    "top": ("at the top", "near the top", "in the upper part of the picture"),
    "bottom": ("at the bottom", "near the bottom", "in the lower part of the picture"),
}
RELATIONS = {
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "on top of", "higher than"),
    "below": ("below", "under", "lower than"),
}
PAIR_PLACES = {
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top", "in the upper half"),
    "bottom": ("at the bottom", "in the lower half"),
}
GROUNDS = (
    "on a {} background",
    "on a {} background",
    "against a {} background",
    "on {}",
    "in front of a {} wall",
)
FIRST_GROUNDS = ("on a {} background, ", "against a {} background, ", "on {}, ", "the background is {}: ")

LEADS = ("Vector ", "Buy ", "Free ", "Clipart: ", "Wall art - ", "NEW! ", "Poster ", "Icon of ")
CLUTTER = (
    " | Stock Photo", " - {width}x{height}", " - Royalty Free Image", " Stock Vector", " | Free Download",
    " #{number}", " - Art Print", " [HD Wallpaper]", " ({file}.jpg)", " - image {number}", " | Shop Online",
    ", vector illustration", " - Geometric Poster", " Clip Art", "", " for kids", " | Etsy style",
    " - Photo {number}",
)  # fmt: skip
NEAT = (
    "{}", "{}", "illustration of {}", "vector illustration of {}", "a geometric figure: {}",
    "simple icon with {}", "abstract composition with {}", "logo design with {}", "drawing by artist: {}",
    "{}, flat design", "{}, vector illustration", "educational card for children with {}", "{} .",
)  # fmt: skip
CHATTY = (
    "I painted {it} for my {who}", "My {who} drew {it} {time}", "Look at {it}, my {who} made it",
    "{time} I made {it} and I love it", "This is {it} that I cut out {time}", "My favourite card: {it}",
    "Just {it}, nothing more, painted {time}", "We drew {it} with my {who} {time}",
    "Found {it} in my old notebook", "I still like {it}, a gift from my {who}",
    "My {who} asked me for {it}, so here it is", "First try: {it}",
)  # fmt: skip
FEELINGS = (
    "wonderful", "quiet", "strange", "honest", "simple", "perfect", "lasting", "forgotten", "new",
    "special", "difficult", "true",
)  # fmt: skip
TOPICS = (
    "friendship", "success", "freedom", "hope", "patience", "happiness", "courage", "love", "growth",
    "time", "quality", "trust", "learning", "change", "music", "business", "health", "memory", "luck",
    "peace",
)  # fmt: skip
TIMES = (
    "last summer", "this morning", "on Sunday", "last year", "yesterday", "in spring", "on holiday",
    "this weekend", "last night", "in school",
)  # fmt: skip
PEOPLE = ("sister", "mother", "friend", "daughter", "son", "teacher", "brother", "neighbour", "grandmother")
VAGUE = (
    "a {feeling} memory of {topic}", "thoughts on {topic} {time}", "best deal of the week",
    "the meaning of {topic}", "a {feeling} story about {topic}", "why {topic} matters to my {who}",
    "what I learned about {topic} {time}", "everything you need to know about {topic}",
    "a {feeling} moment with my {who} {time}", "click here for more", "my {who} and I talked about {topic}",
    "the {feeling} side of {topic}", "how {topic} changed everything {time}", "read more about {topic}",
    "a {feeling} feeling {time}", "it was a {feeling} idea {time}", "ten ways to find {topic}",
    "there is nothing like {topic}", "thank you for all the {topic}, dear {who}",
    "the {feeling} art of {topic}", "we believe in {topic}", "an offer you should not miss {time}",
    "from {topic} to {topic}, a {feeling} journey", "your guide to {feeling} {topic}", "no title available",
    "you can see the {topic} in it", "this shows a {feeling} kind of {topic}",
    "a picture of {feeling} {topic}", "an image of {topic} as my {who} knew it",
    "there is {topic} in every {feeling} day",
    "a {feeling} talk about {topic} with my {who} {time}", "my {who} found {feeling} {topic} {time}",
    "{feeling} words on {topic} that my {who} wrote {time}",
)  # fmt: skip
