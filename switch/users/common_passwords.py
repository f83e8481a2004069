"""Passwords that everybody tries first, of at least eight characters, in lower case.

Chosen by hand: the well-known runs of keys and digits, the words of every published list, and what is tried in China.
"""

from typing import Final

_WORDS: Final = """
12345678 123456789 1234567890 0123456789 9876543210 87654321 987654321 11111111 111111111 1111111111 00000000
000000000 0000000000 22222222 33333333 44444444 55555555 66666666 77777777 88888888 888888888 8888888888 99999999
12341234 123123123 12312312 11223344 1122334455 112233445566 12344321 123454321 123321123 123456123 123456654321
147258369 147852369 741852963 789456123 159753159 1472583690 123698745 13579246 24681357 20202020 10203040
01234567 012345678 31415926 314159265 52013140 5201314520 13145200 1314520520 520520520 1314521521 5845201314
password password1 password12 password123 password1234 passw0rd p@ssword p@ssw0rd p@ssw0rd1 pa$$word pa55word
passpass mypassword newpassword yourpassword password! password1! password123! password2024 password2025
password2026 passwort motdepasse contraseña
qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwerty12345 qwer1234 qweasdzxc qwertyqwerty qazwsxedc qazwsx123
1qaz2wsx 1qaz2wsx3edc zaq12wsx zaq1zaq1 q1w2e3r4 q1w2e3r4t5 1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y asdfghjk asdfghjkl
asdfasdf asdf1234 asdasdasd zxcvbnm1 zxcvbnm123 zxcvbnm, 1qazxsw2 !qaz2wsx 1234qwer 12345qwert 123456qwerty
abcdefgh abcdefghi abcdefg1 abcd1234 abc12345 abc123456 abc123abc abc123456789 a1234567 a12345678 a123456789
aa123456 aa12345678 aa123456789 aaaaaaaa aaaaaaaaa 123456aa 123456abc 1234567a 12345678a 123456789a q12345678
q123456789 qq123456 qq123456789 qq5201314 w123456789 z123456789 zz123456 asd12345 asd123456 as123456 zxc12345
woaini1314 woaini520 woaini521 woaini123 woaini1314520 woaiwojia iloveyou iloveyou1 iloveyou2 iloveyou123
nihao123 nihao1234 wodemima zhongguo zhang123 wang1234 liu12345 li123456 administrator admin123 admin1234
admin12345 admin123456 adminadmin root1234 rootroot letmein1 letmein123 welcome1 welcome12 welcome123 welcome1!
changeme changeme1 changeme123 default1 test1234 test12345 testtest testing1 testing123 guest123 user1234 login123
sunshine sunshine1 princess princess1 football football1 baseball baseball1 basketball superman superman1 batman123
trustno1 starwars starwars1 whatever whatever1 dragon123 monkey123 master123 shadow123 michael1 jennifer jordan23
computer computer1 internet internet1 samsung1 samsung123 google123 facebook facebook1 pokemon1 minecraft
minecraft1 freedom1 liverpool liverpool1 chelsea1 arsenal1 barcelona realmadrid juventus charlie1 jessica1
michelle danielle elizabeth alexander christian christopher benjamin samantha victoria nicholas patricia
midnight mercedes ferrari1 porsche1 corvette mustang1 yamaha123 maverick scorpion elephant butterfly chocolate
chocolate1 strawberry blackberry cheese123 pussycat snoopy123 garfield spongebob spiderman spiderman1 ironman1
wordpass wordpass1 access14 1password secret123 secret12 mysecret topsecret killer123 hunter22 hello123 hello1234
helloworld goodbye1 loveme123 lovelove loveyou1 forever1 forever21 peanut123 purple12 orange123 yellow12 summer123
summer2024 summer2025 summer2026 winter123 winter2025 spring2026 autumn2025 january1 december october1 november
september monday123 friday123 alipay123 alipay123456 wechat123 weixin123 weixin123456 taobao123 unionpay
unionpay1 payswitch payswitch1 zhifubao zhifubao123 yinlian123 tencent123 huawei123 xiaomi123 iphone123
"""
COMMON: Final = frozenset(_WORDS.split())
