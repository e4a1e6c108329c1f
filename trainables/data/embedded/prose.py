"""The embedded data set ``prose``: short texts about everyday things, none of them about commands or programs.

Their loss before and after training is what a model forgets of running text (``data: {eval: {mine: null, general:
prose}}``). All were written for this project.
"""

from __future__ import annotations

NAME = "prose"


def rows() -> list[dict[str, str]]:
    """The texts (``text``), always the same in the same order.

    >>> rows()[0]["text"][:59]
    'Bread rises because yeast eats the sugar in the dough and g'
    """
    return [{"text": " ".join(text.split())} for text in TEXTS.strip().split("\n\n")]


TEXTS = """
Bread rises because yeast eats the sugar in the dough and gives off a gas. The gas cannot escape through the sticky
walls around it, so the dough fills with small bubbles and grows.

A lighthouse does not shine all the time. Its lamp turns, and the pauses between two flashes tell a sailor which
lighthouse it is, as no two neighbours along a coast have the same rhythm.

Most bees in a hive are sisters. They clean the cells when they are young, build wax a week later, and fly out for
nectar only in the last weeks of their lives.

When a river reaches the sea, it slows down and drops the sand that it carried. Over thousands of years the sand
becomes a flat land with many channels, which is called a delta.

The old bridge in our town was built without mortar. Each stone of the arch leans on the next one, and the weight of
the road above presses them more firmly together.

Glass is made of sand. The sand is heated with soda and lime until it flows like honey, and as it cools it becomes
hard before its particles have found an order.

My grandmother kept her letters in a biscuit tin. She had tied them into bundles by year, and the oldest ones smelled
of tobacco, although nobody in the house had smoked for decades.

A compass needle points to the north because the earth is a weak magnet. The place to which it points is not the pole
of the maps, and it moves by some kilometres every year.

Cats land on their feet because they turn in two halves. First the front legs are drawn in and the chest is twisted,
then the back follows, and no outside push is needed.

The train left on time, but it stopped between two stations for almost an hour. Nobody told us why, and after a while
the passengers began to share their sandwiches and to talk.

Salt lowers the temperature at which water freezes. This is why it is scattered on roads in winter, and why it does
not help any more when the night becomes very cold.

To read a map, you first look for its scale. One centimetre may stand for a hundred metres or for a hundred
kilometres, and without it every distance is a guess.

Whales sing, but only the males of some kinds do so. A song lasts up to half an hour, is repeated for days, and
changes a little from one year to the next.

The moon always shows us the same side. It turns about itself once in the time in which it goes around the earth, so
that its far side was unknown until a probe flew behind it.

Paper can be made from rags, straw or wood. The fibres are beaten in water until they are soft, then a sieve lifts a
thin layer out, which is pressed and dried.

He had learned the piano late, at forty, and practised before breakfast. His neighbours never complained, and one
morning he found a note under the door that asked for more Schubert.

A volcano that has been quiet for a thousand years is not dead. Deep below, melted rock may still be collecting, and
small earthquakes are often the first sign that it moves.

Potatoes came to Europe from the mountains of South America. At first they were grown for their flowers, and it took
almost two hundred years until they became the food of the poor.

The library closes at eight on weekdays and at noon on Saturdays. Books may be kept for four weeks and renewed twice,
unless somebody else is waiting for them.

Birds that migrate do not only follow the coast. They see the position of the sun, know the stars, and feel the
magnetic field of the earth, and young ones find the way without a guide.

A good knife should be sharpened before it is blunt. A few strokes on a steel each week keep the edge straight, while
a stone is needed only a few times in a year.

Concrete does not dry, it hardens. The cement in it takes up water and grows crystals that hold sand and stones
together, which works even at the bottom of the sea.

In the desert the days are hot and the nights are cold, because there are no clouds to keep the warmth. Stones that
are heated and cooled so often crack with a loud noise.

The market begins at six in the morning, when the farmers unload their vans by the light of lamps. By ten the best
tomatoes are gone, and by one only the cats are left.

Tides are caused by the moon and, to a smaller degree, by the sun. When both pull along one line, at new moon and at
full moon, the sea rises highest and falls lowest.

A violin is made of two kinds of wood. The top is of spruce, which is light and stiff, and the back is of maple, which
is harder and throws the sound forward.

Vaccines show the body a harmless part of a germ. The body learns to recognise it and keeps the memory for years, so
that it can answer at once when the real germ arrives.

The office has been moved to the third floor. The lift is out of order until Thursday, so please use the stairs at the
back, and ring the bell if the glass door is locked.

Snow is white because its crystals send back all colours of the light alike. A glacier looks blue, as the light goes a
long way through the ice and loses its red on the way.

Before there were refrigerators, ice was cut from lakes in winter and stored in cellars under straw. It was carried
through the town in summer and sold by weight.

A spider does not stick to its own web. Only some of the threads are sticky, and it walks on the dry ones, with the
tips of its feet alone.

Our teacher drew a triangle on the board and asked how many straight lines could cut it into two equal parts. We found
three of them quickly, and she smiled and said that there were more.

Coffee beans are the seeds of a red fruit. They are green when they are dried, and they get their colour and nearly
all of their smell in the roaster, within a quarter of an hour.

The ship carried a cargo of oranges, and when it ran aground the beach turned orange for a mile. Children came from
three villages with baskets before the coast guard was there.

Sound needs something to travel through. It is faster in water than in air, faster still in steel, and in the empty
space between the planets there is no sound at all.

A tailor measures twice and cuts once. Cloth that was cut too long can be shortened, but there is no way to lengthen a
sleeve without a seam that everybody sees.

The first railways used the time of each town that they passed. Since the sun is higher in the east, the clocks
differed by minutes, and timetables became so confusing that one time was made the law.

Mushrooms are the fruit of something larger. The real body is a net of fine threads in the ground, which may be older
than the trees above it and reach as far as the forest.

If you want to keep herbs fresh, put their stems into a glass of water and cover the leaves loosely. Basil prefers the
kitchen table, parsley can stand in the cold.

The committee met on Tuesday to discuss the new playground. Two members wanted more trees, one wanted a fence, and all
agreed that the old slide had to go before somebody was hurt.

A rainbow is seen only with the sun at one's back. Each drop sends back its light at an angle that depends on the
colour, so that every person sees a rainbow of their own.

Iron rusts when water and air reach it together. Paint keeps both away, and a layer of zinc does more, because zinc is
eaten first as long as there is any left.

She had promised to be back before dark. When the lamps went on along the harbour and the last ferry had left, her
brother took a torch and walked out to the end of the pier.

The heart of a mouse beats about ten times in a second, that of an elephant once in two. Over a whole life both have
about the same number of beats.

Wine glasses can be made to sing with a wet finger. The finger sticks and slips many times a second, the rim begins to
swing, and water in the glass makes the tone lower.

To change a tyre, loosen the nuts a little while the wheel is still on the ground. Then lift the car, take off the
wheel, and tighten the nuts of the new one crosswise.

The desert fox has large ears, which are good for more than hearing. Blood flows through them close under the skin,
and the wind takes the heat away.

In winter the lake froze so hard that people crossed it with carts. A line of small fir trees marked the way, since in
the fog one could lose the other shore.

Numbers were written with letters in many old languages. A zero was missing, which makes no difference for counting
sheep, but a great one for multiplying on paper.

Chalk is made of the shells of tiny creatures that lived in a warm sea. They sank to the bottom when they died, and in
millions of years became a layer as high as a tower.

The recipe asks for three eggs, a cup of flour and a little milk. Let the batter rest while the pan gets hot, and do
not turn the pancake before its edges are dry.

An echo comes back from a cliff after a while that tells how far it is. For each second between the shout and the
answer, the wall is about a hundred and seventy metres away.

He repaired clocks in a shop so small that customers stood in the doorway. All of the clocks showed different times,
because, as he said, a clock that is being mended is allowed to dream.

Plants turn towards the light by growing faster on the side that is in the shadow. If you turn the pot a little every
day, the stem stays straight.

The first email of the morning said that the meeting was cancelled, the second one that it was not. By the time the
third arrived, everybody was already sitting in the room.

Camels do not keep water in their humps. The humps are fat, and as all of it is in one place, the rest of the body
stays cool under the sun.

A dictionary is never finished. While its last volume is printed, the words of the first one have changed their
meaning, and new ones have come that nobody expected.

Gold is found in rivers because it is heavy. The water carries sand and clay away, and grains of gold sink into the
gaps between stones, where patience and a flat pan can find them.

Our neighbour feeds the hedgehogs in her garden with a saucer of cat food. They come at dusk, sneeze, eat, and leave
through the same hole in the fence every night.

The stage was dark when the orchestra began, and for some minutes nothing could be seen but the small lamps on the
stands. Then a door opened at the back and a single voice was heard.

Stars twinkle and planets hardly do. A star is so far away that it is a point, and every movement of the air shifts
it, while a planet is a small disc whose trembling averages out.

The road over the pass is closed from November to May. In the other months it takes about three hours by bus, with a
stop at the top, where there is an inn and a view over two countries.

Cheese was probably discovered by accident, when milk was carried in a bag made of a calf's stomach. Something in the
stomach parts the milk, and the walk shook it into curds.

A pendulum swings at the same pace whether it swings wide or not, as long as it does not swing too wide. Its length
alone decides, and a clock that is slow needs a shorter one.

The child asked where the wind goes when it stops. Her father thought about it until they had reached the corner, and
then he said that it was the air that stayed and the hurry that went.

Silk is spun by a caterpillar that wraps itself in a single thread. The thread is about a kilometre long, and for one
shirt the cocoons of some thousands are unwound in hot water.
"""
