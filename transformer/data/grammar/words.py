# ruff: noqa: E501 (a row of a table is a line)
"""The words of the built-in English-German grammar: principal parts and what goes with what.

Everything that no rule can derive stands here, in tables made to be read and extended: gender,
genitive and plural of a noun, the irregular forms of a verb, which case or preposition it
governs, and the semantic classes that keep sentences sensible (books are read, bread is eaten).
Every other form comes from the rules in `german_inflection.py` and `english_inflection.py`. A
selection is a list of classes or of single nouns: "readable letter".
"""

# Nouns: English singular[/plural] | article, nominative, genitive, plural | further classes.
# Places: inside, at and surface_place say which preposition tells where one is ("in", "an", "auf"),
# stop that one can go to what is "at", goal that "to" is "in" with the accusative (ins Kino) and
# not "zu" (zum Bahnhof).
NOUNS = """
[person human]
man/men | der Mann Mannes Männer
woman/women | die Frau - Frauen
child/children | das Kind Kindes Kinder
boy | der Junge Jungen Jungen
girl | das Mädchen Mädchens Mädchen
teacher | der Lehrer Lehrers Lehrer | professional
student | der Student Studenten Studenten | professional
doctor | der Arzt Arztes Ärzte | professional
nurse | die Krankenschwester - Krankenschwestern | professional
friend | der Freund Freundes Freunde
neighbor | der Nachbar Nachbarn Nachbarn
colleague | der Kollege Kollegen Kollegen
customer | der Kunde Kunden Kunden
policeman/policemen | der Polizist Polizisten Polizisten | professional
tourist | der Tourist Touristen Touristen
soldier | der Soldat Soldaten Soldaten | professional
prince | der Prinz Prinzen Prinzen
princess | die Prinzessin - Prinzessinnen
king | der König Königs Könige
queen | die Königin - Königinnen
farmer | der Bauer Bauern Bauern | professional
baker | der Bäcker Bäckers Bäcker | professional
cook | der Koch Kochs Köche | professional
waiter | der Kellner Kellners Kellner | professional
waitress | die Kellnerin - Kellnerinnen | professional
singer | der Sänger Sängers Sänger | professional
actor | der Schauspieler Schauspielers Schauspieler | professional
actress | die Schauspielerin - Schauspielerinnen | professional
author | der Autor Autors Autoren | professional
artist | der Künstler Künstlers Künstler | professional
judge | der Richter Richters Richter | professional
lawyer | der Anwalt Anwalts Anwälte | professional
engineer | der Ingenieur Ingenieurs Ingenieure | professional
guest | der Gast Gastes Gäste
visitor | der Besucher Besuchers Besucher
mother | die Mutter - Mütter
father | der Vater Vaters Väter
brother | der Bruder Bruders Brüder
sister | die Schwester - Schwestern
aunt | die Tante - Tanten
uncle | der Onkel Onkels Onkel
son | der Sohn Sohnes Söhne
daughter | die Tochter - Töchter
grandmother | die Großmutter - Großmütter
grandfather | der Großvater Großvaters Großväter
nephew | der Neffe Neffen Neffen
patient | der Patient Patienten Patienten
witness | der Zeuge Zeugen Zeugen
journalist | der Journalist Journalisten Journalisten | professional
president | der Präsident Präsidenten Präsidenten | professional
pilot | der Pilot Piloten Piloten | professional
mayor | der Bürgermeister Bürgermeisters Bürgermeister | professional
boss | der Chef Chefs Chefs
gardener | der Gärtner Gärtners Gärtner | professional
hunter | der Jäger Jägers Jäger | professional
thief/thieves | der Dieb Diebes Diebe

[person]
baby | das Baby Babys Babys

[animal]
dog | der Hund Hundes Hunde | pet
cat | die Katze - Katzen | pet
horse | das Pferd Pferdes Pferde | pet
cow | die Kuh - Kühe
bird | der Vogel Vogels Vögel
bear | der Bär Bären Bären
lion | der Löwe Löwen Löwen
monkey | der Affe Affen Affen
rabbit | das Kaninchen Kaninchens Kaninchen | pet
elephant | der Elefant Elefanten Elefanten
mouse/mice | die Maus - Mäuse
pig | das Schwein Schweins Schweine
duck | die Ente - Enten
goat | die Ziege - Ziegen
fox | der Fuchs Fuchses Füchse
wolf/wolves | der Wolf Wolfes Wölfe
donkey | der Esel Esels Esel
snake | die Schlange - Schlangen

[thing readable flat]
book | das Buch Buches Bücher | gift writable
newspaper | die Zeitung - Zeitungen
letter | der Brief Briefes Briefe | writable
novel | der Roman Romans Romane | gift writable
poem | das Gedicht Gedichts Gedichte | writable
magazine | die Zeitschrift - Zeitschriften
report | der Bericht Berichts Berichte | writable

[thing flat]
key | der Schlüssel Schlüssels Schlüssel
umbrella | der Regenschirm Regenschirms Regenschirme | gift
pen | der Stift Stifts Stifte | gift
picture | das Bild Bildes Bilder | gift hangable
ring | der Ring Ringes Ringe | gift
blanket | die Decke - Decken
pillow | das Kissen Kissens Kissen
towel | das Handtuch Handtuchs Handtücher
knife/knives | das Messer Messers Messer
spoon | der Löffel Löffels Löffel
fork | die Gabel - Gabeln
doll | die Puppe - Puppen | gift
ticket | die Fahrkarte - Fahrkarten
map | die Landkarte - Landkarten | hangable
stone | der Stein Steines Steine
ball | der Ball Balles Bälle | gift

[thing upright]
bag | die Tasche - Taschen | holder gift
suitcase | der Koffer Koffers Koffer | holder
basket | der Korb Korbes Körbe | holder
box | die Kiste - Kisten | holder
bottle | die Flasche - Flaschen | fragile
glass | das Glas Glases Gläser | fragile
cup | die Tasse - Tassen | fragile gift
plate | der Teller Tellers Teller | fragile
vase | die Vase - Vasen | fragile gift
mirror | der Spiegel Spiegels Spiegel | fragile
candle | die Kerze - Kerzen | gift

[thing upright device]
clock | die Uhr - Uhren | gift
camera | die Kamera - Kameras | gift
telephone | das Telefon Telefons Telefone
computer | der Computer Computers Computer | switchable
lamp | die Lampe - Lampen | switchable
radio | das Radio Radios Radios | switchable
television | der Fernseher Fernsehers Fernseher | switchable

[furniture]
table | der Tisch Tisches Tische | surface shelter
chair | der Stuhl Stuhls Stühle | surface seat
bed | das Bett Bettes Betten | surface seat shelter
sofa | das Sofa Sofas Sofas | surface seat
desk | der Schreibtisch Schreibtischs Schreibtische | surface shelter
bench | die Bank - Bänke | surface seat shelter
cupboard | der Schrank Schranks Schränke | holder
carpet | der Teppich Teppichs Teppiche | surface

[opening]
door | die Tür - Türen | at
window | das Fenster Fensters Fenster | at

[clothing]
coat | der Mantel Mantels Mäntel
dress | das Kleid Kleides Kleider
shirt | das Hemd Hemdes Hemden
hat | der Hut Hutes Hüte
jacket | die Jacke - Jacken
skirt | der Rock Rockes Röcke
sweater | der Pullover Pullovers Pullover
scarf/scarves | der Schal Schals Schals
shoe | der Schuh Schuhs Schuhe

[vehicle]
car | das Auto Autos Autos | landmark
bus | der Bus Busses Busse | public
train | der Zug Zuges Züge | public
ship | das Schiff Schiffes Schiffe | public
boat | das Boot Bootes Boote
airplane | das Flugzeug Flugzeugs Flugzeuge
truck | der Lastwagen Lastwagens Lastwagen | landmark
bicycle | das Fahrrad Fahrrads Fahrräder
taxi | das Taxi Taxis Taxis | public

[food]
apple | der Apfel Apfels Äpfel | fruit
cake | der Kuchen Kuchens Kuchen | baked
egg | das Ei Eies Eier | cooked
pear | die Birne - Birnen | fruit
potato/potatoes | die Kartoffel - Kartoffeln | cooked
tomato/tomatoes | die Tomate - Tomaten | fruit
orange | die Orange - Orangen | fruit
carrot | die Karotte - Karotten | cooked
cookie | der Keks Kekses Kekse | baked
sausage | die Wurst - Würste | meaty
soup | die Suppe - Suppen | cooked
salad | der Salat Salats Salate

[food mass]
bread | das Brot Brotes | baked
cheese | der Käse Käses | meaty
meat | das Fleisch Fleisches | cooked meaty
butter | die Butter -
rice | der Reis Reises | cooked
honey | der Honig Honigs
chocolate | die Schokolade - | gift

[drink mass]
milk | die Milch -
water | das Wasser Wassers
coffee | der Kaffee Kaffees
tea | der Tee Tees
juice | der Saft Saftes
wine | der Wein Weins
beer | das Bier Bieres

[place]
house | das Haus Hauses Häuser | inside building landmark home
garden | der Garten Gartens Gärten | inside goal landscape crossable
kitchen | die Küche - Küchen | inside goal rooms
city | die Stadt - Städte | inside goal home area crossable
village | das Dorf Dorfes Dörfer | inside goal home area crossable
school | die Schule - Schulen | inside building landmark
library | die Bibliothek - Bibliotheken | inside goal building landmark
church | die Kirche - Kirchen | inside goal building landmark
park | der Park Parks Parks | inside goal landscape crossable
forest | der Wald Waldes Wälder | inside goal landscape crossable
museum | das Museum Museums Museen | inside goal building landmark
hotel | das Hotel Hotels Hotels | inside building landmark
restaurant | das Restaurant Restaurants Restaurants | inside goal building landmark
office | das Büro Büros Büros | inside goal rooms
hospital | das Krankenhaus Krankenhauses Krankenhäuser | inside goal building landmark
theater | das Theater Theaters Theater | inside goal building landmark
cinema | das Kino Kinos Kinos | inside goal building
castle | das Schloss Schlosses Schlösser | inside building landmark home
tower | der Turm Turms Türme | inside building landmark
room | das Zimmer Zimmers Zimmer | inside goal rooms
cellar | der Keller Kellers Keller | inside goal rooms
shop | der Laden Ladens Läden | inside goal building
factory | die Fabrik - Fabriken | inside goal building
bakery | die Bäckerei - Bäckereien | inside building
station | der Bahnhof Bahnhofs Bahnhöfe | at stop building landmark
airport | der Flughafen Flughafens Flughäfen | at stop building
university | die Universität - Universitäten | at stop building
beach | der Strand Strandes Strände | at stop landscape
lake | der See Sees Seen | at stop landscape waters
river | der Fluss Flusses Flüsse | at stop landscape waters
street | die Straße - Straßen | surface_place
market | der Markt Marktes Märkte
bridge | die Brücke - Brücken | surface_place building shelter
island | die Insel - Inseln | surface_place landscape home_on
farm | der Bauernhof Bauernhofs Bauernhöfe | surface_place home_on
balcony | der Balkon Balkons Balkone | surface_place
mountain | der Berg Berges Berge | high landscape
roof | das Dach Daches Dächer | high
tree | der Baum Baumes Bäume | high landmark shelter plant
wall | die Wand - Wände | wall

[plant]
flower | die Blume - Blumen | gift

[abstract]
question | die Frage - Fragen | puzzle
problem | das Problem Problems Probleme | puzzle
idea | die Idee - Ideen
answer | die Antwort - Antworten | sayable
plan | der Plan Plans Pläne
secret | das Geheimnis Geheimnisses Geheimnisse
mistake | der Fehler Fehlers Fehler
story | die Geschichte - Geschichten | sayable
song | das Lied Liedes Lieder | sayable
word | das Wort Wortes Wörter | sayable
rule | die Regel - Regeln | puzzle
language | die Sprache - Sprachen

[event]
meal | das Essen Essens Essen
exam | die Prüfung - Prüfungen | official
concert | das Konzert Konzerts Konzerte | show
trip | die Reise - Reisen
meeting | die Besprechung - Besprechungen | official
film | der Film Films Filme | show
game | das Spiel Spiels Spiele | show
wedding | die Hochzeit - Hochzeiten

[cause mass]
rain | der Regen Regens | sky
snow | der Schnee Schnees | sky
weather | das Wetter Wetters
noise | der Lärm Lärms
storm | der Sturm Sturms | sky
cold | die Kälte -
heat | die Hitze -
"""

# Adjectives: English[ comparative] | German[ comparative] | classes. Without an English
# comparative "more" is used; one that ends in "!" has no degrees.
ADJECTIVES = """
old older | alt älter | human animal thing clothing vehicle furniture place readable
young younger | jung jünger | human animal
big bigger | groß größer | animal thing furniture vehicle place opening plant fruit cake potato
tall taller | groß größer | human
small smaller | klein kleiner | child boy girl baby animal thing furniture vehicle place opening plant fruit cake potato
friendly friendlier | freundlich freundlicher | human
tired | müde müder | human baby animal
happy happier | glücklich glücklicher | human baby
sad sadder | traurig trauriger | human story song film
clever cleverer | klug klüger | human fox monkey
famous | berühmt berühmter | human museum castle novel song singer
rich richer | reich reicher | human
poor poorer | arm ärmer | human
strong stronger | stark stärker | human animal coffee tea storm
brave braver | mutig mutiger | human
hungry hungrier | hungrig hungriger | human baby animal
thirsty thirstier | durstig durstiger | human animal
sick! | krank | human animal
healthy healthier | gesund gesünder | human baby fruit
lazy lazier | faul fauler | human cat donkey
diligent | fleißig fleißiger | human
polite | höflich höflicher | human
honest | ehrlich ehrlicher | human answer
nervous | nervös nervöser | human
angry angrier | wütend wütender | human bear
curious | neugierig neugieriger | human monkey cat
patient | geduldig geduldiger | human
strict stricter | streng strenger | human rule
funny funnier | lustig lustiger | human story film
lonely lonelier | einsam einsamer | human island
proud prouder | stolz stolzer | human
shy shyer | schüchtern schüchterner | human
nice nicer | nett netter | human
grateful | dankbar dankbarer | human
careful | vorsichtig vorsichtiger | human
wild wilder | wild wilder | animal
dangerous | gefährlich gefährlicher | bear lion wolf snake trip
fast faster | schnell schneller | car train horse ship
slow slower | langsam langsamer | vehicle donkey cow computer
fat fatter | dick dicker | animal
new! | neu | thing clothing vehicle furniture building opening abstract
expensive | teuer teurer | thing clothing vehicle furniture hotel restaurant wine
cheap cheaper | billig billiger | thing clothing vehicle furniture hotel restaurant
heavy heavier | schwer schwerer | thing furniture
beautiful | schön schöner | princess queen weather thing clothing building landscape plant song rooms home
ugly uglier | hässlich hässlicher | thing clothing building furniture
modern | modern moderner | device vehicle building furniture
red! | rot | upright clothing car bus furniture flower apple ball
blue! | blau | upright clothing car bus furniture door
green! | grün | upright clothing car furniture door apple
yellow! | gelb | upright clothing bus car flower
black! | schwarz | cat dog horse upright clothing car shoe
white! | weiß | horse cat rabbit furniture clothing house ship
brown! | braun | dog horse bear furniture shoe
gray! | grau | cat mouse donkey furniture clothing
round! | rund | table mirror clock basket stone
long longer | lang länger | readable coat dress skirt scarf trip street river film event
short shorter | kurz kürzer | letter poem report coat skirt trip answer story film
dirty dirtier | schmutzig schmutziger | clothing car shoe window plate glass kitchen towel street
clean cleaner | sauber sauberer | clothing glass plate room window towel water
empty emptier | leer leerer | holder bottle glass place
useful | nützlich nützlicher | device map idea book answer knife
practical | praktisch praktischer | device bag jacket bicycle idea furniture
fresh fresher | frisch frischer | food milk juice water
sweet sweeter | süß süßer | fruit cake cookie chocolate tea juice wine
sour sourer | sauer saurer | fruit milk
hot hotter | heiß heißer | soup coffee tea milk water potato meal
cold colder | kalt kälter | drink soup water room weather house
delicious | lecker leckerer | food meal
salty saltier | salzig salziger | soup cheese meat sausage
narrow narrower | schmal schmaler | street bridge bed door river balcony
high higher | hoch höher | tower mountain tree wall roof
deep deeper | tief tiefer | waters plate snow
dark darker | dunkel dunkler | rooms forest street church castle coat beer
bright brighter | hell heller | rooms lamp
quiet quieter | ruhig ruhiger | village room park beach street hotel lake
interesting | interessant interessanter | readable abstract film museum city trip event
boring | langweilig langweiliger | readable film game story meeting concert event
important | wichtig wichtiger | letter report abstract official
difficult | schwierig schwieriger | puzzle word language exam trip game
easy easier | einfach einfacher | puzzle language exam game
good better | gut besser | abstract readable food drink professional friend event weather
bad worse | schlecht schlechter | idea plan answer film weather meal restaurant mistake
exciting | spannend spannender | readable film game story trip
strange stranger | seltsam seltsamer | abstract man woman noise event
loud louder | laut lauter | radio street restaurant noise song
"""

# Verbs: English[, past] | German infinitive (prefix+), er-form, auxiliary, participle | frame |
# subjects | objects | adjuncts. Frames: none, acc, dat, give (dative and accusative), give-to
# (the same, in English with "to"), prep (English and German preposition, case), be-at (place in
# the dative), go (place in the accusative), put (accusative object and place in the accusative),
# that (with the further complements it has), whether, to. Adjuncts: m careful manner, s sounding manner, w with a person, f for a
# person, p at a place, t a time.
VERBS = """
sleep, slept | schlafen schläft hat geschlafen | none | human baby animal | - | p t
work | arbeiten arbeitet hat gearbeitet | none | human | - | w p t m
laugh | lachen lacht hat gelacht | none | human | - | p t s
cry | weinen weint hat geweint | none | human baby | - | t p s
sing, sang | singen singt hat gesungen | none | human bird | - | p t s
dance | tanzen tanzt hat getanzt | none | human bear | - | w p t
play | spielen spielt hat gespielt | none | child boy girl dog cat rabbit son daughter | - | p t s
swim, swam | schwimmen schwimmt ist geschwommen | none | human duck | - | t w
smile | lächeln lächelt hat gelächelt | none | human baby | - | t
bark | bellen bellt hat gebellt | none | dog fox | - | t p
arrive | an+kommen kommt ist angekommen | none | human public | - | t
wake_up, woke | auf+wachen wacht ist aufgewacht | none | human baby animal | - | t
get_up, got | auf+stehen steht ist aufgestanden | none | human | - | t
fall_asleep, fell | ein+schlafen schläft ist eingeschlafen | none | human baby animal | - | t p
come_back, came | zurück+kommen kommt ist zurückgekommen | none | human animal | - | t
travel | reisen reist ist gereist | none | human | - | w t
disappear | verschwinden verschwindet ist verschwunden | none | human animal key ring | - | t
hurry | sich beeilen beeilt hat beeilt | none | human | - | t
rest | sich aus+ruhen ruht hat ausgeruht | none | human animal | - | p t
depart | ab+fahren fährt ist abgefahren | none | public | - | t
bloom | blühen blüht hat geblüht | none | flower tree garden | - | t
burn | brennen brennt hat gebrannt | none | candle lamp | - | t
see, saw | sehen sieht hat gesehen | acc | human animal | human animal thing vehicle building landscape | t
hear, heard | hören hört hat gehört | acc | human animal | human dog bird song story noise | t p
read, read | lesen liest hat gelesen | acc | human | readable | s p t
write, wrote | schreiben schreibt hat geschrieben | acc | human | writable | m p t f
buy, bought | kaufen kauft hat gekauft | acc | human | thing food clothing vehicle furniture flower house drink | f t
sell, sold | verkaufen verkauft hat verkauft | acc | human | thing food clothing vehicle furniture flower house | t
find, found | finden findet hat gefunden | acc | human animal | thing pet food clothing child puzzle answer mistake | t p
look_for | suchen sucht hat gesucht | acc | human animal | thing pet human food clothing answer | p t
lose, lost | verlieren verliert hat verloren | acc | human | flat clothing bag camera dog cat game | t p
forget, forgot | vergessen vergisst hat vergessen | acc | human | flat clothing bag abstract exam meeting | t
eat, ate | essen isst hat gegessen | acc | human | food | p t w
eat, ate | fressen frisst hat gefressen | acc | animal | fruit meaty baked cooked | p t
drink, drank | trinken trinkt hat getrunken | acc | human | drink | p t w
cook | kochen kocht hat gekocht | acc | human | cooked coffee tea | f p t w
bake, baked | backen backt hat gebacken | acc | human | baked | f t w
love | lieben liebt hat geliebt | acc | human | human pet language song city village | -
know, knew | kennen kennt hat gekannt | acc | human | human story song area building rule answer poem | -
visit | besuchen besucht hat besucht | acc | human | human building city village island | t w
ask | fragen fragt hat gefragt | acc | human | human | t
meet, met | treffen trifft hat getroffen | acc | human | human | p t
paint | malen malt hat gemalt | acc | human | picture landscape plant house castle horse cat | m t
draw, drew | zeichnen zeichnet hat gezeichnet | acc | human | picture map landscape plant animal building | m t
build, built | bauen baut hat gebaut | acc | human | building boat furniture | t f w
repair | reparieren repariert hat repariert | acc | human | device vehicle furniture opening roof | m t f
clean | putzen putzt hat geputzt | acc | human | window shoe kitchen room mirror lamp bicycle | m t w
wash | waschen wäscht hat gewaschen | acc | human | clothing car dog towel cup plate glass fruit | m t
carry | tragen trägt hat getragen | acc | human | upright furniture stone blanket child | m t
wear, wore | tragen trägt hat getragen | acc | human | clothing ring | t
break, broke | zerbrechen zerbricht hat zerbrochen | acc | human cat monkey | fragile egg | t
hide, hid | verstecken versteckt hat versteckt | acc | human | flat fragile gift food | t
steal, stole | stehlen stiehlt hat gestohlen | acc | human monkey fox | thing vehicle food clothing | t
need | brauchen braucht hat gebraucht | acc | human | thing furniture vehicle clothing answer food | -
like | mögen mag hat gemocht | acc | human | human food animal drink song city village | -
understand, understood | verstehen versteht hat verstanden | acc | human | human abstract readable | -
solve | lösen löst hat gelöst | acc | human | question problem | t m
photograph | fotografieren fotografiert hat fotografiert | acc | human | human animal building landscape plant | t
watch | beobachten beobachtet hat beobachtet | acc | human animal | human animal | t p
chase | jagen jagt hat gejagt | acc | animal | animal thief | t
catch, caught | fangen fängt hat gefangen | acc | human cat dog | ball mouse bird thief rabbit animal | t
kiss | küssen küsst hat geküsst | acc | human | human baby | t
hug, hugged | umarmen umarmt hat umarmt | acc | human | human dog doll pillow | t
admire | bewundern bewundert hat bewundert | acc | human | human picture building landscape plant clothing | t
open | öffnen öffnet hat geöffnet | acc | human | opening letter holder bottle shop | m t
close | schließen schließt hat geschlossen | acc | human | opening holder book shop factory | m t
lock | ab+schließen schließt hat abgeschlossen | acc | human | door house cupboard car bicycle suitcase room office | t
turn_on | ein+schalten schaltet hat eingeschaltet | acc | human | switchable | t
turn_off | aus+schalten schaltet hat ausgeschaltet | acc | human | switchable | t
pick_up | ab+holen holt hat abgeholt | acc | human | human suitcase car letter dog bag | t p
call | an+rufen ruft hat angerufen | acc | human | human | t
invite | ein+laden lädt hat eingeladen | acc | human | human | t
put_on, put | an+ziehen zieht hat angezogen | acc | human | clothing | t
take_off, took | aus+ziehen zieht hat ausgezogen | acc | human | clothing | t
throw_away, threw | weg+werfen wirft hat weggeworfen | acc | human | readable thing clothing fruit | t
tidy_up | auf+räumen räumt hat aufgeräumt | acc | human | rooms house shop desk cupboard office | t w
prepare | vor+bereiten bereitet hat vorbereitet | acc | human | event report soup salad | m t f w
pack | ein+packen packt hat eingepackt | acc | human | gift clothing flat | t f m
unpack | aus+packen packt hat ausgepackt | acc | human | gift suitcase bag box basket | t m
bring_along, brought | mit+bringen bringt hat mitgebracht | acc | human | food gift drink friend dog | t
choose, chose | aus+suchen sucht hat ausgesucht | acc | human | clothing gift readable furniture pet cake wine | t f m
get_to_know, got | kennen+lernen lernt hat kennengelernt | acc | human | human city language | t p
examine | untersuchen untersucht hat untersucht | acc | doctor nurse engineer | human animal device vehicle | m t
feed, fed | füttern füttert hat gefüttert | acc | human | animal baby | t w
learn | lernen lernt hat gelernt | acc | human | language poem song word rule | t w p
sing, sang | singen singt hat gesungen | acc | human bird | song | s t p f
tell, told | erzählen erzählt hat erzählt | acc | human | story secret | t s
use | benutzen benutzt hat benutzt | acc | human | device vehicle word key umbrella pen towel knife spoon map | t
manage | leiten leitet hat geleitet | acc | professional boss man woman | factory hotel restaurant museum shop hospital theater farm library cinema | t
help | helfen hilft hat geholfen | dat | human | human animal | t p
thank | danken dankt hat gedankt | dat | human | human | t
answer | antworten antwortet hat geantwortet | dat | human | human | t
follow | folgen folgt ist gefolgt | dat | human animal | human animal car truck river street | t
listen_to | zu+hören hört hat zugehört | dat | human animal | human bird | t p
trust | vertrauen vertraut hat vertraut | dat | human | human dog | -
believe | glauben glaubt hat geglaubt | dat | human | human story | -
congratulate | gratulieren gratuliert hat gratuliert | dat | human | human | t
belong_to | gehören gehört hat gehört | dat | thing vehicle house furniture clothing pet | human | -
forgive, forgave | verzeihen verzeiht hat verziehen | dat | human | human | t
threaten | drohen droht hat gedroht | dat | human lion bear | human | t
obey | gehorchen gehorcht hat gehorcht | dat | child boy girl son daughter dog soldier | human | t
give, gave | geben gibt hat gegeben | give | human | thing food drink clothing flower answer | t
show | zeigen zeigt hat gezeigt | give | human | thing picture clothing house garden city room animal museum mistake | t
send, sent | schicken schickt hat geschickt | give | human | gift readable flower answer | t
bring, brought | bringen bringt hat gebracht | give | human | food drink flower upright readable clothing | t
lend, lent | leihen leiht hat geliehen | give | human | thing vehicle clothing | t
sell, sold | verkaufen verkauft hat verkauft | give | human | thing vehicle furniture house clothing | t
offer | an+bieten bietet hat angeboten | give | human | food drink chair | t
tell, told | erzählen erzählt hat erzählt | give | human | story secret | t p
promise | versprechen verspricht hat versprochen | give | human | gift trip vehicle pet answer | t
explain | erklären erklärt hat erklärt | give-to | human | abstract map device poem | t m
read, read | vor+lesen liest hat vorgelesen | give-to | human | readable story | t s
return | zurück+geben gibt hat zurückgegeben | give-to | human | thing clothing vehicle | t
recommend | empfehlen empfiehlt hat empfohlen | give-to | human | readable hotel restaurant film wine museum cake doctor | t
describe | beschreiben beschreibt hat beschrieben | give-to | human | human building picture problem plan animal landscape | t m
wait | warten wartet hat gewartet | prep for auf acc | human dog | human public answer meal letter film | t p
think, thought | denken denkt hat gedacht | prep of an acc | human | human trip event city mountain exam | t
dream | träumen träumt hat geträumt | prep of von dat | human | human animal landscape event house vehicle | t
talk | sprechen spricht hat gesprochen | prep about über acc | human | human event readable puzzle weather film idea plan | t p w
speak, spoke | sprechen spricht hat gesprochen | prep with mit dat | human | human | t p s
laugh | lachen lacht hat gelacht | prep at über acc | human | human animal mistake story idea | t
play | spielen spielt hat gespielt | prep with mit dat | human dog cat | child pet ball doll friend baby brother sister | p t
write_to, wrote | schreiben schreibt hat geschrieben | dat | human | human | t
remember | sich erinnern erinnert hat erinnert | prep - an acc | human | human abstract event house city film | -
take_care, took | sich kümmern kümmert hat gekümmert | prep of um acc | human | human animal garden house plant guest | t
complain | sich beschweren beschwert hat beschwert | prep about über acc | human | human weather noise cold heat meal rain rule hotel | t
look_forward | sich freuen freut hat gefreut | prep to auf acc | human | event weather snow guest meal visitor | -
take_part, took | teil+nehmen nimmt hat teilgenommen | prep in an dat | human | exam meeting game trip | t
live | wohnen wohnt hat gewohnt | be-at | human | home home_on cities | t w
stay | bleiben bleibt ist geblieben | be-at | human baby | inside stop surface_place market cities | t w
sit, sat | sitzen sitzt hat gesessen | be-at | human | seat at inside surface_place shelter | t
sit, sat | sitzen sitzt hat gesessen | be-at | cat dog bird monkey | high surface shelter opening | t
stand, stood | stehen steht hat gestanden | be-at | human horse cow | at surface_place market landmark | t
stand, stood | stehen steht hat gestanden | be-at | upright | surface rooms landmark | t
lie, lay | liegen liegt hat gelegen | be-at | flat clothing | surface holder shelter | t
lie, lay | liegen liegt hat gelegen | be-at | human baby cat dog | seat carpet shelter rooms | t
hang, hung | hängen hängt hat gehangen | be-at | hangable coat mirror | wall | t
go, went | gehen geht ist gegangen | go | human | inside goal stop market bridge farm | t w
run, ran | laufen läuft ist gelaufen | go | human | inside goal stop landmark market bridge | t
run, ran | laufen läuft ist gelaufen | go | animal | landmark crossable shelter | t
drive, drove | fahren fährt ist gefahren | go | human | stop area building farm cities | t w
fly, flew | fliegen fliegt ist geflogen | go | pilot tourist president journalist | cities island | t
travel | reisen reist ist gereist | go | human | cities island | t w
climb | klettern klettert ist geklettert | go | human cat monkey bear | high | t
jump | springen springt ist gesprungen | go | human dog cat | waters seat surface | t
come, came | kommen kommt ist gekommen | from | human | inside stop cities | t
put, put | legen legt hat gelegt | put surface holder | human | flat clothing | t m
place | stellen stellt hat gestellt | put surface rooms | human | upright chair | t m
hang, hung | hängen hängt hat gehängt | put wall | human | hangable mirror | t
throw, threw | werfen wirft hat geworfen | put waters basket garden | human | ball stone key | t
say, said | sagen sagt hat gesagt | that | human | - | -
think, thought | denken denkt hat gedacht | that | human | - | -
believe | glauben glaubt hat geglaubt | that | human | - | -
hope | hoffen hofft hat gehofft | that | human | - | -
know, knew | wissen weiß hat gewusst | that whether | human | - | -
hear, heard | hören hört hat gehört | that | human | - | -
notice | bemerken bemerkt hat bemerkt | that | human | - | -
claim | behaupten behauptet hat behauptet | that | human | - | -
forget, forgot | vergessen vergisst hat vergessen | that to | human | - | -
wonder | sich fragen fragt hat gefragt | whether | human | - | -
ask | fragen fragt hat gefragt | whether | human | - | -
try | versuchen versucht hat versucht | to | human | - | -
begin, began | beginnen beginnt hat begonnen | to | human | - | -
start | an+fangen fängt hat angefangen | to | human | - | -
decide | beschließen beschließt hat beschlossen | to | human | - | -
plan, planned | planen plant hat geplant | to | human | - | -
refuse | sich weigern weigert hat geweigert | to | human | - | -
have, had | haben hat/hatte hat gehabt | acc | human | thing pet vehicle house question problem idea plan brother sister friend | t
rain | regnen regnet hat geregnet | weather | - | - | -
snow | schneien schneit hat geschneit | weather | - | - | -
be | geben gibt/gab hat gegeben | exist | - | professional man woman child tourist animal thing building landscape furniture plant | -
"""

DETERMINERS = """
the the d definite
this these dies der
every every jed der
which which welch der
all all all der
a a ein ein
no no kein ein
my my mein ein
your your dein ein
his his sein ein
her her ihr ein
our our unser ein
their their ihr ein
many many viel strong
some some einig strong
several several mehrer strong
"""

INDEFINITE = frozenset("a no every many some several".split())
# Adjectives that hold for a while.
PASSING = frozenset(
    "tired happy sad sick hungry thirsty nervous angry lonely careful polite friendly cold hot "
    "dirty clean empty quiet loud".split()
)
PRONOUNS = """
I me ich mich mir mich 0
you you du dich dir dich 1
he him er ihn ihm sich 2
she her sie sie ihr sich 2
we us wir uns uns uns 3
they them sie sie ihnen sich 3
it it es es ihm sich 2
who whom wer wen wem sich 2
what what was was was sich 2
there there es es es sich 2
"""

NAMES = "Anna Peter Maria Paul Julia Martin Laura David Sophie Emma Lena Simon Clara Michael Eva \
Daniel Nina Robert Karl Helena"
CITIES = "Berlin Hamburg Munich/München Vienna/Wien Cologne/Köln Zurich/Zürich Paris London \
Rome/Rom Prague/Prag"

TIMES = """
today | heute
yesterday | gestern | past
tomorrow | morgen | future
now | jetzt | present
in the morning | am Morgen
in the afternoon | am Nachmittag
in the evening | am Abend
at night | in der Nacht
at noon | am Mittag
on Monday | am Montag
on Tuesday | am Dienstag
on Wednesday | am Mittwoch
on Thursday | am Donnerstag
on Friday | am Freitag
on Saturday | am Samstag
on Sunday | am Sonntag
every day | jeden Tag | present past
every morning | jeden Morgen | present past
every evening | jeden Abend | present past
every week | jede Woche | present past
last week | letzte Woche | past
last year | letztes Jahr | past
last summer | letzten Sommer | past
next week | nächste Woche | future
next year | nächstes Jahr | future
in summer | im Sommer
in winter | im Winter
"""
# The blank is a numeral.
COUNTED_TIMES = """
at _ o'clock | um _ Uhr | present past future
_ days ago | vor _ Tagen | past
_ years ago | vor _ Jahren | past
in _ days | in _ Tagen | future
in _ weeks | in _ Wochen | future
"""
FREQUENCIES = """
often | oft
always | immer
sometimes | manchmal
never | nie
rarely | selten
usually | meistens
"""
COMMENTS = """
perhaps | vielleicht
unfortunately | leider
of course | natürlich
fortunately | zum Glück
"""
DEGREES = """
very | sehr
too | zu
quite | ziemlich
"""
CAREFUL = """
carefully | vorsichtig
quickly | schnell
slowly | langsam
secretly | heimlich
"""
SOUNDING = """
loudly | laut
quietly | leise
happily | fröhlich
"""
CONJUNCTIONS = """
because | weil | weil
although | obwohl | obwohl
when | wenn | als
while | während | während
before | bevor | bevor
as soon as | sobald | sobald
if | wenn | - | present
"""
QUESTION_WORDS = """
where | wo | wo
when | wann | wann
why | warum | warum
"""
MODALS = """
can can can | kann kannst kann können
must must must | muss musst muss müssen
should should should | sollte solltest sollte sollten
may may may | darf darfst darf dürfen
will will will | werde wirst wird werden | future
want_to wants_to want_to | will willst will wollen | present | lexical
wanted_to wanted_to want_to | wollte wolltest wollte wollten | past | lexical
had_to had_to have_to | musste musstest musste mussten | past | lexical
"""
# Prepositions by the class of the place they go with: English, German.
STATIC = """
inside in in
home in in
rooms in in
holder in in
at at an
surface_place on auf
market at auf
home_on on auf
surface on auf
seat on auf
high on auf
wall on an
shelter under unter
landmark behind hinter
landmark in_front_of vor
landmark next_to neben
cities in in
"""
# "?" is "in" for a goal (ins Kino) and "zu" for another place (zum Bahnhof).
DIRECTIONAL = """
inside into in
inside to ?
stop to ?
market to ?
bridge to ?
farm to ?
island to ?
building to ?
area to ?
landmark behind hinter
landmark around um
crossable through durch
shelter under unter
high onto auf
seat onto auf
surface onto auf
waters into in
cities to nach
"""
# Where something is put: as English says where it is, but in the accusative.
PLACEMENT = """
surface on auf
holder in in
rooms in in
wall on an
waters into in
garden into in
basket into in
"""
ORIGINS = """
inside from aus
stop from von
cities from aus
"""
