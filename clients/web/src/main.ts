document.getElementById('app')?.append('Leeside');
