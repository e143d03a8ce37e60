"""03.py (+ taught sources + fill) -> notebooks"""
import sys,re,subprocess,json,os
sys.path[:0]=['tools','']
import taught
main='notebooks'
dest=sys.argv[1] if len(sys.argv)>1 else main
os.makedirs(dest+'/solutions',exist_ok=True)
fill=json.load(open('fill03.json'))
lesson=open('03.py').read()
def check(m):
    r=re.search(r'# %% tags=\["exercise-check"\]\ndef '+m[1]+r'\(.*?(?=\n'+m[1]+r'\()',lesson,re.S); return r[0].rstrip()+'\n\n'
for name,out in (('03','03_train_a_convolutional_vae.ipynb'),('03_solutions','solutions/03_solutions.ipynb')):
    s=open(f'{name}.py').read()
    s=re.sub(r'@@TAUGHT:(\w+):([\w.]+)@@',lambda m:taught.helper_source(f'helpers.{m[1]}:{m[2]}'),s)
    s=re.sub(r'@@CHECK:(\w+)@@',check,s)
    for k,v in fill.items(): s=s.replace('@@'+k+'@@',v)
    print(name,'unfilled',re.findall(r'@@\w+@@',s))
    o=f'{dest}/{out}'
    tmp=f'build_{name}.py'; open(tmp,'w').write(s)
    subprocess.run(['venv/bin/jupytext','--quiet','--to','ipynb']+(['--update'] if os.path.exists(o) else [])+['-o',o,tmp],check=True)
