//! Whole sayings, as people at some show type them: small talk, cheers, questions, laughter, in seven
//! languages. All of it was made up for this file.
//!
//! Why beside the word lists: sentences put together of subject and predicate have correct words, but not the
//! turns that chats are full of; generated chat needs both, and so does the dictionary that compression
//! begins with.
//! Invariants: one saying a line, the likeliest last; none stands twice in a language; nobody's name,
//! nobody's quotation, nothing unfriendly.
//! Not here: how they are used (`texts`, `dictionary`).

use super::generator::Language;

/// The sayings of a language, one a line.
pub(super) fn phrases(language: Language) -> std::str::Lines<'static> {
    match language {
        Language::En => ENGLISH,
        Language::Es => SPANISH,
        Language::Pt => PORTUGUESE,
        Language::Fr => FRENCH,
        Language::De => GERMAN,
        Language::Ja => JAPANESE,
        Language::Ko => KOREAN,
    }
    .lines()
}

const ENGLISH: &str = "\
you could create a separate function that returns the default value
the application should work without changing the configuration file
I installed the latest update and everything stopped working
does the documentation mention anything about that error message
we are using the same library in our production environment
create a pull request or open an issue on the project page
there are several different ways to solve this problem
for some reason the server was not responding for a few minutes
make sure that the connection string is correct
the database takes forever to load with that many users
have you considered writing unit tests for the other class
it's available as a free download on their website
I've been learning this language for the last three months
might be a permission problem with the Windows machine
somewhere between the second and the third chapter
my computer doesn't support that feature yet
developers, designers and other interesting people
could somebody explain how this works because I came in late
which version of the project are they building with these days
there should be a setting for that somewhere under options
probably easier with a different keyboard and a better microphone
that question has already been answered at the beginning
according to the website it starts again on Thursday or Friday
I remember when they played this one several years ago
whatever happens next, this has been an excellent evening
something is wrong with the picture, the sound is fine though
everybody knows that the second one is always the hardest
I completely forgot that it was Saturday already
does anyone else have problems with the video quality
it depends on what you are trying to do with it
thank you very much for all the great content
I just got home from work, what did I miss
where are you all watching from today
they should have gone left instead of right
you can always go back and change it later
I have never seen anything like that before
let me know if you need help with the code
the next episode is going to be interesting
I would really like to see more of this
is there a link to the music they are using
I don't think that is how it's supposed to work
that would have been a really good ending
how long has this been going on for now
has been working fine for me since yesterday
please turn up the volume a little bit
who would have thought it would be this close
can we get some more of that next time
maybe you need to restart the whole thing
no one expected that to happen so fast
they are definitely going to win this one
because there is nothing better to do anyway
it looks like it's going to rain over there
I think I'm going to make another coffee
the first time I saw this I couldn't believe it
what is the name of this song again
you have to try it at least once
he should be able to do that, right
she knows exactly what she's doing
this game looks pretty good actually
I'm not sure about that one
good to see you again everyone
why does it always take so long
that's what I was thinking too
this is the best part of the show
when does the next one start
how do you even do that
I wonder what comes after this
we need more people like that
you're doing great, keep it up
wait, what did he just say
don't worry about it too much
I'm just here for the music
welcome back, how are you doing
did you see that? amazing
that makes a lot of sense now
it was better the first time
they don't know what they want
nobody is going to believe this
let's see how this goes
have a good night everyone
thanks for the stream today
that was actually really close
good morning, happy to be here
haven't seen this in a while
I can't believe it worked
here we go again, every time
this might take some time
it's about time they did that
looks good to me
I love this so much
what a great idea
can't wait for the next one
I have no idea what that means
is it just me or is it too loud
you should play something else
just one more and then bed
that would be nice
same thing happened to me
does this mean it's over
sounds like a good plan
we've been waiting for this
how is everyone today
hello from the other side of the world
oh my god, look at that
wow that was fast
this is so good
I feel like that was on purpose
what are the chances of that
let's go, come on
what the heck was that
he's back, finally
I was there when it happened
nice one, well played
you got this
good job everyone
that's not even close
please don't go yet
that's a good point
so many people here today
congratulations to the winner
I'm so happy right now
yes please, more of that
is that even allowed
not bad at all
never mind, I found it
they did it again
it's over, pack it up
what just happened
looking forward to it
rest in peace to that one
absolutely beautiful
this is what I came for
there it is
hahahahahahaha
lmao that got me
lol what was that
omg yes
gg everyone
what a play
big if true
I agree with that
you know it
that's it for me
no problem at all
good luck and have fun
I'm so sorry
oh no not again
let's gooooooo
hype hype hype
POG POG POG
LOL LOL LOL
pog
ez clap
F in the chat
what is this
I don't know
why not both
how much is it
thank you
thanks
maybe later
of course
not really
this one
let's go
yeah
nope
gg
rip
haha
hahaha
????
!!!!
lmao
LMAO
omg
lol
LOL";

const SPANISH: &str = "\
alguien me puede explicar cómo funciona esto porque llegué tarde
no entiendo nada de lo que está pasando ahora mismo
cuándo empieza el siguiente programa de la noche
desde dónde nos están viendo todos ustedes hoy
siempre pasa lo mismo cuando juegan en casa
creo que todavía falta mucho para el final
eso no estaba en los planes de nadie
tenemos que verlo otra vez mañana con calma
qué bueno que volvieron después de tanto tiempo
no puede ser, esto es lo mejor del año
muchas gracias por todo, un saludo para todos
cómo se llama la canción que está sonando
hace mucho que no veía algo así
pero si eso ya lo había dicho antes
me gusta más que la vez pasada
por favor suban un poco el volumen
ahora sí que va a estar bueno
a mí también me pasó lo mismo
quién lo hubiera dicho
qué está haciendo
no me lo esperaba
lo mejor de la semana
están todos locos
se escucha muy bien
jajajajajaja
buenas tardes a todos
qué grande
hola a todos
muchas gracias
dale que se puede
vamos que ganamos
te quiero mucho
no lo sé
claro que sí
jajaja
sí";

const PORTUGUESE: &str = "\
alguém pode explicar como isso funciona porque cheguei agora
não estou entendendo nada do que está acontecendo
quando começa o próximo programa de hoje
de onde vocês estão assistindo hoje à noite
toda vez que eles jogam é a mesma coisa
acho que ainda falta muito para acabar
ninguém estava esperando por essa não
que bom que vocês voltaram depois de tanto tempo
não acredito, isso é a melhor coisa do ano
muito obrigado por tudo, um abraço para todos
qual é o nome dessa música que está tocando
faz tempo que eu não via uma coisa assim
mas isso ele já tinha falado antes
gostei mais do que da outra vez
aumenta um pouco o volume por favor
agora vai ficar bom demais
comigo também aconteceu
quem diria uma coisa dessas
o que ele está fazendo
melhor parte da semana
o som está muito bom
kkkkkkkkkkkkkkkk
boa tarde pessoal
obrigada a todos
vamos que vamos
eu não sei
com certeza
kkkkkk
sim
não";

const FRENCH: &str = "\
quelqu'un peut m'expliquer comment ça marche, je viens d'arriver
je ne comprends rien à ce qui se passe maintenant
à quelle heure commence la prochaine émission
vous regardez d'où ce soir tout le monde
c'est toujours la même chose quand ils jouent
je crois qu'il reste encore beaucoup de temps
personne ne s'y attendait du tout
c'est bien que vous soyez revenus après tout ce temps
je n'y crois pas, c'est le meilleur moment de l'année
merci beaucoup pour tout, bonne soirée à tous
comment s'appelle cette musique déjà
ça faisait longtemps que je n'avais pas vu ça
mais il l'a déjà dit tout à l'heure
c'était mieux que la dernière fois
montez un peu le son s'il vous plaît
maintenant ça va être intéressant
moi aussi je suis là pour ça
qu'est-ce qu'il est en train de faire
il y a quelqu'un qui sait pourquoi
on est bien ici
est-ce que c'est fini
mdr mdr mdr
c'est pas possible
c'est trop bien
je sais pas
bonjour à tous
bien sûr
c'est ça
ptdr
mdr";

const GERMAN: &str = "\
kann mir jemand erklären, wie das funktioniert, ich bin gerade erst gekommen
ich verstehe nicht, was hier eigentlich passiert
wann fängt denn die nächste Sendung an
von wo schaut ihr heute alle zu
das ist immer das Gleiche, wenn die spielen
ich glaube, das dauert noch eine ganze Weile
damit hat wirklich niemand gerechnet
schön, dass ihr nach so langer Zeit wieder da seid
nicht zu glauben, das ist das Beste seit Jahren
vielen Dank für alles und einen schönen Abend noch
wie heißt das Lied, das gerade läuft
so etwas habe ich lange nicht mehr gesehen
aber das hat er doch vorhin schon gesagt
das war besser als beim letzten Mal
macht bitte mal etwas lauter
jetzt wird es richtig spannend
das ist mir auch schon passiert
was macht der denn da
weiß jemand, warum das so ist
ich bin nicht sicher, ob das geht
das ist nicht dein Ernst
keine Ahnung
hahahaha
guten Morgen zusammen
genau das
das stimmt
ich auch
alles gut
nein
doch";

const JAPANESE: &str = "\
昔の作品とは違う雰囲気になっている気がする
主人公の気持ちがよくわかる回だったと思う
原作を読んでいないから先の展開がわからない
作画がきれいすぎて目が離せないんだけど
声優さんの演技がほんとうに素晴らしいです
音楽の使い方がうまいなあと毎回思ってる
こういう世界に生まれたかったなあ
仕事から帰ってきたらもう始まってた
来週まで待てないから誰か助けて
この人は何を考えているんだろう
それはさすがに無理があるでしょう
どうしてそうなったのか説明してほしい
ちょっと何言ってるかわからない
初めて見たけどすごく面白いです
ここから先は泣かないと無理だと思う
やっぱりこのシーンが一番好きだなあ
これからどうなるのか楽しみすぎる
みんなで見ると楽しいですね
もう一度最初から見直したい
この時間が一番の楽しみです
時間が足りない、もう終わりか
そういうことだったのか、なるほど
お前が言うなって感じだな
ここで終わるのかよ、続きが気になる
日本の夏って感じがしていいね
男の子も女の子もみんなかわいい
先生、それは違うと思います
今のは絶対にわざとだろ
いつ見ても笑ってしまう
知らないうちに大人になってる
そんなことより飯が食いたい
俺も同じことを考えてた
私もここに行きたいです
これは名場面になるだろうな
最後まで見てよかったです
ありがとうございました
よろしくお願いします
お疲れさまでした
おめでとうございます
おはようございます
いってらっしゃい
おかえりなさい
いただきます
ごちそうさま
おやすみなさい
気持ちはわかるけど
それな、ほんとそれ
そんなわけないだろ
どういうことなの
なんでだよ、おい
誰だよ、お前は
やめてください
大丈夫じゃないだろ
まだ早いって
もう少しだけ
ここすき
これは強い
これはひどい
これはずるい
かわいいなあ
かわいすぎる
かっこよすぎ
面白くなってきた
楽しそうでなにより
懐かしいなあ
怖い怖い怖い
眠くなってきた
お腹すいた
いい話だなあ
いいぞもっとやれ
いい声してる
すごい迫力だ
すげええええ
うまそう
うわああああああ
うおおおおおおおお
きたああああああ
きたーーーーーーー
ええええええええ
いやああああ
やばいやばいやばい
やばすぎる
まさかの展開
まじかよ
マジで？
なんだこれ
なにこれ
なんという
どこだここ
そうなの？
そうだよ
ちがうよ
だめだこれ
だよなあ
ですよねー
だろうね
ですね
なんだと
なるほどね
わかる
わかりやすい
わからん
知ってた
そっちかよ
そこかよ
こっち見んな
こわい
つよい
はやい
えらい
えぐい
エモい
ワロタ
ネタバレ
オープニング
エンディング
コメント
キャラ
テンポ
タイトル
シーン
最高だった
最高かよ
神回だった
神曲だなあ
名曲
天才か
完璧
正解
伏線
主役は遅れて
始まるよー
終わった…
泣いた
泣ける
尊い
優しい世界
フラグ立った
ん？
え？
は？
あ、
…………
・・・・
。。。。
！！！！！！！！
？？？？
ーーーー
wwwwwwwwwwwwwwww
ｗｗｗｗｗｗｗｗｗｗｗｗ
88888888888888
乙
おつ
草
草生える
ｗｗｗ
ww
ｗ";

const KOREAN: &str = "\
누가 이거 어떻게 하는 건지 설명 좀 해주세요 방금 왔어요
지금 무슨 일이 일어나고 있는지 모르겠어요
다음 방송은 언제 시작하는지 아시는 분
다들 오늘은 어디에서 보고 계세요
아직 끝나려면 한참 남은 것 같은데
이건 아무도 예상 못 했을 거예요
오랜만에 다시 보니까 정말 좋네요
이 노래 제목이 뭐예요
이런 건 처음 봤어요
소리 조금만 키워 주세요
이제부터 재미있어지겠다
저도 그렇게 생각해요
진짜 너무 웃기다
이게 말이 되나
왜 이렇게 잘해요
감사합니다 여러분
오늘도 화이팅
어떻게 된 거야
그러니까요
괜찮아요
좋은 아침
ㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋ
ㅎㅎㅎㅎ
ㅠㅠㅠㅠ
ㄷㄷㄷ
네
아니";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_saying_is_a_text_and_stands_once() {
        for &language in Language::value_variants() {
            let all: Vec<&str> = phrases(language).collect();
            assert!(all.len() >= 20, "{language:?}");
            for (at, saying) in all.iter().enumerate() {
                assert!(grandstand_protocol::rules::is_name(saying), "{language:?}: {saying:?}");
                assert!(!all[..at].contains(saying), "{language:?}: {saying:?} twice");
            }
        }
    }
}
